# Tasks by Pub/Sub that come at once: they go into Redis together, and what is
# said of each is what would be said of it alone.

use strict;
use warnings;

use HTTP::Tiny;
use Test::More;
use Workflow;
use Workflow::Proxy;
use Workflow::Published;
use Workflow::Record;

my $redis = Workflow::Redis->new;
my $r = $redis->redis;
my $seen = Workflow::Published->new($redis, 'llama_deploy.control_plane');

my $nginx = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/ask.so;
workflow_load \@PLUGINS\@/counter.so;
workflow_queue tasks { url @{[ $redis->url ]}; topic_namespace llama_deploy; }
workflow_service echo { workflow echo; queue tasks; step_interval 60s; }
workflow_service ask { workflow ask; queue tasks; step_interval 60s; }
workflow_service counter { workflow counter; queue tasks; step_interval 60s; }
workflow_service rest { workflow echo; queue tasks; running off;
    max_queued 3; }
workflow_service hold { workflow ask; queue tasks; running off; }
HTTP
    locations => 'location / { workflow_pass echo; }');

$redis->subscribed(1, map { "llama_deploy.$_" } qw(echo ask counter rest
    hold));

# What is published by one transaction is heard in one piece.

sub at_once {
    my ($service, @messages) = @_;
    $r->multi;
    $r->publish("llama_deploy.$service", $_) for @messages;
    $r->exec;
}

sub calls {
    my ($command) = @_;
    return ($r->info('commandstats')->{"cmdstat_$command"} // '')
        =~ /calls=(\d+)/ ? $1 : 0;
}

sub state_is {
    my ($service, $state, @ids) = @_;
    wait_for { !grep { (task_in($r, $service, $_)->{state} // '') ne $state }
        @ids } 10, "@ids to be $state";
}

sub echo { return new_task($_[0], { arg1 => $_[1] // $_[0] }) }

# A hundred: each ends once; they were accepted by a few calls, in their order.

my @ids = map { "task-$_" } 1 .. 100;
my $before = calls('mget');
at_once('echo', map { echo($_) } @ids);
is($seen->outcome($_)->{result}, "${_}_result", "$_ ends") for @ids;
cmp_ok(calls('mget') - $before, '<', 90, 'accepted together');

my @rest = map { "rest-$_" } 1 .. 3;
at_once('rest', map { echo($_) } @rest, 'more-1');
state_is('rest', 'queued', @rest);
is_deeply([map { { @{ $_->[1] } }->{task} }
        @{ $r->xrange('{llama_deploy.rest}:queue', '-', '+') }], \@rest,
    'in their order');

# ... of which the queue takes no more.

at_once('rest', map { echo($_) } qw(rest-2 more-2));
is($seen->outcome($_)->{error}{message} // '', "The service's queue is full.",
    "$_ is refused") for qw(more-1 more-2);
is($r->xlen('{llama_deploy.rest}:queue'), 3, 'and one that was known stays');
like($nginx->log, qr/the queue is full, task "more-$_" is refused/, 'the log')
    for 1, 2;

# The same task twice, and once with another input.

at_once('echo', echo('twice'), echo('twice'), echo('twice', 'other'),
    echo('task-1'), echo('beside'));
is($seen->outcome($_)->{result}, "${_}_result", "$_ ends") for qw(twice beside);
wait_for { $nginx->log
    =~ /task "twice": the task is known with another input/ } 10, 'the log';
pass('another input is told');

# Without an id of its own a task is known by its message.

my $message = message('new_task', { input => to_json({ arg1 => 'nameless' }) },
    id_ => 'message-1');
at_once('echo', $message, $message, echo('behind'));
is($seen->outcome('behind')->{result}, 'behind_result', 'behind ends');
at_once('echo', $message, echo('last'));
is($seen->outcome('last')->{result}, 'last_result', 'last ends');
is(scalar(grep { ($_->{completed_task}[0]{data}{result} // '') eq 'nameless_result' }
    values %{ $seen->{seen} }), 1, 'a message without a task_id, once');

# An event that comes before its task, and one that comes with it.

at_once('ask', human_response('early', 'before'),
    map { new_task($_, {}) } 'early', 'asked');
at_once('ask', new_task('late', {}), human_response('late', 'behind'));
$r->publish('llama_deploy.ask', human_response('asked', 'then'));
is($seen->outcome($_->[0])->{result}, $_->[1], "$_->[0]: its event")
    for ['early', 'before'], ['late', 'behind'], ['asked', 'then'];
unlike($nginx->log, qr/"late": the task of an event is not known yet/,
    'a task goes before its event');

# Before a task that comes alone.

$r->publish('llama_deploy.ask', human_response('lonely', 'before'));
wait_for { $r->exists('{llama_deploy.ask}:events:lonely') } 10, 'the event';
$r->publish('llama_deploy.ask', new_task('lonely', {}));
is($seen->outcome('lonely')->{result}, 'before', 'lonely: its event');
state_is('ask', 'completed', 'lonely');
is($r->exists('{llama_deploy.ask}:events:lonely'), 0, 'which goes with it');

# Such an event is kept for as long as its task.

at_once('hold', human_response('held', 'before'),
    map { new_task($_, {}) } 'held', 'beside');
state_is('hold', 'queued', 'held', 'beside');
is($r->ttl('{llama_deploy.hold}:events:held'), -1, 'an early event stays');
is(task_in($r, 'hold', $_->[0])->{marks} // '-', $_->[1], "$_->[0]: marks")
    for ['held', 'events'], ['beside', '-'];

# For those that wait: one, and several that end at once, by transactions that
# remove them.

for my $ids (['single'], [map { "several-$_" } 1 .. 20]) {
    at_once('ask', map { new_task($_, {}) } @$ids);
    state_is('ask', 'waiting', @$ids);
    my $executed = calls('exec');
    at_once('ask', map { human_response($_, 'then') } @$ids);
    is($seen->outcome($_)->{result}, 'then', "$_: its event") for @$ids;
    state_is('ask', 'completed', @$ids);
    is($r->exists(map { ("{llama_deploy.ask}:events:$_",
        "{llama_deploy.ask}:saved:$_") } @$ids), 0, 'nothing is left of them');
    cmp_ok(calls('exec'), '>', $executed + 1, 'transactions');
}

# Their sessions come with them.

for my $round (1 .. 2) {
    at_once('counter', map { new_task("count-$round-$_", {},
        session_id => "session-$_") } 1 .. 3);
    is($seen->outcome("count-$round-$_")->{result}, $round,
        "session $_, task $round") for 1 .. 3;
}

# Tasks that were in the queue are claimed before those that come.

enqueue($r, 'echo', $_, to_json({ arg1 => $_ })) for 'first', 'second';
at_once('echo', echo('third'), echo('fourth'));
is($seen->outcome($_)->{result}, "${_}_result", "$_ ends")
    for qw(first second third fourth);

wait_for { $r->xlen('{llama_deploy.echo}:queue') == 0 } 10, 'all to end';
enqueue($r, 'echo', 'zeroth', to_json({ arg1 => 'zeroth' }));
$r->publish('llama_deploy.echo', echo('behind it'));
is($seen->outcome($_)->{result}, "${_}_result", "$_ ends")
    for 'zeroth', 'behind it';

# Nobody has the consumer group any more.

for my $new (['new', 'newer'], ['newest']) {
    wait_for { $r->xlen('{llama_deploy.echo}:queue') == 0 } 10, 'all to end';
    $r->del('{llama_deploy.echo}:queue');
    at_once('echo', map { echo($_) } @$new);
    is($seen->outcome($_)->{result}, "${_}_result", "$_ ends") for @$new;
}

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok(qr/queue is full|known with another input/);

# Those that come while a call for others is under way go by the next one, also
# when the worker leaves.

my $proxy = Workflow::Proxy->new($redis->port);
my $far = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $proxy->url ]}; topic_namespace llama_deploy; }
workflow_service far { workflow echo; queue tasks; running off; }
HTTP
    locations => 'location / { workflow_pass far; }');

$redis->subscribed(1, 'llama_deploy.far');

# One by one, and in the end what is heard behind them.

sub far {
    my (@ids) = @_;
    my $heard = () = $far->log =~ /refused a message/g;
    $proxy->hold;

    for my $id (@ids) {
        is($r->publish('llama_deploy.far', echo($id)), 1, "$id is sent");
        is(HTTP::Tiny->new->get($far->url('/'))->{status}, 200,
            'the next turn');
    }

    $r->publish('llama_deploy.far', '{');
    wait_for { $heard < (() = $far->log =~ /refused a message/g) } 10,
        'all to be heard';
    is($r->exists("{llama_deploy.far}:task:$ids[0]"), 0, 'none is there yet');
}

my @far = map { "far-$_" } 1 .. 20;
$before = calls('mget');
far(@far);
$proxy->drop;
state_is('far', 'queued', @far);
cmp_ok(calls('mget') - $before, '<=', 4, 'by a few calls');

my @left = map { "left-$_" } 1 .. 5;
$redis->subscribed(1, 'llama_deploy.far');
far(@left);
$far->signal('QUIT');
$proxy->drop;
is($far->stop, 0, 'nginx ends');
is_deeply([map { { @{ $_->[1] } }->{task} }
        @{ $r->xrange('{llama_deploy.far}:queue', '-', '+') }], [@far, @left],
    'in their order, too');
$far->log_ok(qr/refused a message/);

# ... and when it is told to stop, or hears a bad message that might be taken for
# one of them.  Calls of this one are refused for a while.

$r->acl('SETUSER', 'nginx', 'on', 'nopass', '~*', '&*', '+@all');
my $near = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $redis->url ]}; topic_namespace llama_deploy;
    username nginx; password any; }
workflow_service near { workflow echo; queue tasks; running off; }
HTTP
    locations => 'location / { workflow_pass near; }');

$redis->subscribed(1, 'llama_deploy.near');

sub refused_calls {
    return ($r->info('commandstats')->{cmdstat_evalsha} // '')
        =~ /rejected_calls=(\d+)/ ? $1 : 0;
}

sub behind_a_refused_one {
    my ($first, @messages) = @_;
    my $heard = () = $near->log =~ /refused a message/g;
    my $refused = refused_calls();
    $r->acl('SETUSER', 'nginx', '-evalsha');
    $r->publish('llama_deploy.near', echo($first));
    wait_for { refused_calls() > $refused } 10, "$first to be refused";
    $r->publish('llama_deploy.near', $_) for @messages;
    wait_for { $heard < (() = $near->log =~ /refused a message/g) } 10,
        'all to be heard';
    $r->acl('SETUSER', 'nginx', '+evalsha');
}

behind_a_refused_one('before', echo('good'),
    message('new_task', { task_id => 'good', input => 'bad' }));
state_is('near', 'queued', 'before', 'good');
pass('a task goes before a bad message');

behind_a_refused_one('lost', map({ echo($_) } 'kept-1', 'kept-2'), '{');
is($near->stop('TERM'), 0, 'nginx stops');
is(task_in($r, 'near', $_)->{state} // '', 'queued', "$_ is queued")
    for 'kept-1', 'kept-2';
$near->log_ok(qr/refused a message/);

done_testing;
