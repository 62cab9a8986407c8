# A task seen over HTTP: its states, what is known already, events, and the
# number of tasks that are not done.

use strict;
use warnings;
use utf8;

use Encode ();
use Test::More;
use Workflow;
use Workflow::Connection;

my $redis = Workflow::Redis->new;
my $nginx = Workflow::Nginx->new(http => <<"HTTP", locations => <<'LOCATIONS');
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/ask.so;
workflow_load \@PLUGINS\@/progress.so;
workflow_load \@PLUGINS\@/sleeper.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service echo { workflow echo; queue tasks; }
workflow_service ask { workflow ask; queue tasks; }
workflow_service progress { workflow progress; queue tasks; }
workflow_service sleeper { workflow sleeper; queue tasks; }
workflow_service idle {
    workflow echo; queue tasks; running off; max_queued 3;
}
workflow_service deaf {
    workflow ask; queue tasks; running off; max_events 2;
}
HTTP
add_header X-Worker $pid always;
location /echo { workflow_pass echo; }
location /ask { workflow_pass ask; }
location /progress { workflow_pass progress; }
location /sleeper { workflow_pass sleeper; }
location /idle { workflow_pass idle; }
location /deaf { workflow_pass deaf; }
LOCATIONS

my @keys = qw(task_id session_id status result error attempts stream_events
    created_at updated_at);
my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

# GET of a path under a service, as [status, parsed content].

sub get {
    my $r = http_get($nginx->url($_[0]));
    return [ $r->{status}, from_json($r->{content}) ];
}

sub post {
    my ($service, $message) = @_;
    my $r = http_post($nginx->url("/$service/process_message"), $message);
    return [ $r->{status}, from_json($r->{content}) ];
}

sub state {
    my ($service, $id, @states) = @_;
    return wait_for {
        my $task = get("/$service/tasks/$id")->[1];
        (grep { $_ eq ($task->{status} // '') } @states) ? $task : undef;
    } 10, "task $id to be @states";
}

# All fields but the times, which must be times.

sub fields_are {
    my ($task, $expected, $name) = @_;
    my %task = %$task;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    like(delete $task{$_}, $time, "$name, $_") for qw(created_at updated_at);
    cmp_ok($task->{created_at}, 'le', $task->{updated_at}, "$name, order");
    is_deeply(\%task, $expected, $name);
}

my $ok = [ 200, undef ];
my $not_found = [ 404, { detail => 'Task not found' } ];
my $conflict = [ 409, { detail => 'Task is known with another input' } ];
my $ended = [ 409, { detail => 'Task has ended' } ];
my $full = [ 503, { detail => 'The queue is full' } ];


# States

is_deeply(post('idle', new_task('q', { arg1 => 'x' }, session_id => 's')), $ok,
    'a task for a service that does not run');
fields_are(get('/idle/tasks/q')->[1], { task_id => 'q', session_id => 's',
    status => 'queued', result => undef, error => undef, attempts => 0,
    stream_events => 0 }, 'queued');

my $raw = http_get($nginx->url('/idle/tasks/q'));
is($raw->{headers}{'content-type'}, 'application/json', 'its type');
is_deeply([ $raw->{content} =~ /[{,]"(\w+)":/g ], \@keys, 'fields in order');

is_deeply(post('sleeper', new_task('r', { ms => 1500 })), $ok, 'a long task');
fields_are(state('sleeper', 'r', 'running'), { task_id => 'r',
    session_id => undef, status => 'running', result => undef, error => undef,
    attempts => 1, stream_events => 0 }, 'running');

is_deeply(post('ask', new_task('w', {})), $ok, 'a task that asks');
fields_are(state('ask', 'w', 'waiting'), { task_id => 'w',
    session_id => undef, status => 'waiting', result => undef,
    error => undef, attempts => 1, stream_events => 1 }, 'waiting');

is_deeply(post('progress', new_task('p', { arg1 => 'hello' })), $ok,
    'a task that streams');
my $done = state('progress', 'p', 'completed', 'failed');
fields_are($done, { task_id => 'p', session_id => undef,
    status => 'completed', result => 'hello_result_result_result',
    error => undef, attempts => 1, stream_events => 4 }, 'completed');

is_deeply(post('echo', new_task('f', { other => 1 })), $ok,
    'a task that fails');
my $failed = state('echo', 'f', 'completed', 'failed');
like($failed->{error}, qr/arg1/, 'its error');
fields_are({ %$failed, error => 'e' }, { task_id => 'f', session_id => undef,
    status => 'failed', result => undef, error => 'e', attempts => 1,
    stream_events => 1 }, 'failed');

is_deeply(get('/echo/tasks/never'), $not_found, 'a task that never was');
is_deeply(get('/idle/tasks/p'), $not_found, "another service's task");

my $c = Workflow::Connection->new($nginx);
$c->send(Workflow::Connection::text('HEAD', '/idle/tasks/q'),
    Workflow::Connection::text('HEAD', '/idle/tasks/never'),
    Workflow::Connection::text('GET', '/idle/tasks/q', undef,
        Connection => 'close'));
my $head = $c->answer(10, 1);
is($head->{status}, 200, 'HEAD');
cmp_ok($head->{headers}{'content-length'}, '>', 0, 'HEAD, length');
is($c->answer(10, 1)->{status}, 404, 'HEAD of none');
my $get = $c->answer;
is($get->{headers}{'content-length'}, $head->{headers}{'content-length'},
    'HEAD and GET, length');
ok($c->closed, 'HEAD had no body');


# Ids as they come

for my $id ('a b', 'ü/é?', '"quoted\\"', '50%', '+&=#;', 'x' x 256) {
    my $bytes = Encode::encode_utf8($id);
    my $path = $bytes =~ s{([^A-Za-z0-9])}{sprintf '%%%02x', ord $1}ger;
    my $name = length $id > 20 ? 'a long one' : $bytes;

    is_deeply(post('echo', new_task($bytes, { arg1 => 'v' })), $ok,
        "id $name");
    is(state('echo', $path, 'completed')->{task_id}, $bytes,
        "id $name, its task");
}

is_deeply(get('/echo/tasks/' . 'x' x 257), $not_found, 'an id too long');


# What is known already

state('sleeper', 'r', 'completed');
my $inbox = $redis->inbox('llama_deploy.control_plane');

is_deeply(post('echo', new_task('k', { arg1 => 'one' })), $ok, 'a task');
is(($inbox->task('k'))[1]{data}{result}, 'one_result', 'its result');
is_deeply(post('echo', new_task('k', { arg1 => 'one' })), $ok,
    'the same again');
is_deeply(post('echo', new_task('k', { arg1 => 'two' })), $conflict,
    'with another input');
is(get('/echo/tasks/k')->[1]{result}, 'one_result', 'result of the first');

is_deeply(post('echo', new_task('after', { arg1 => 'x' })), $ok, 'another');
is_deeply([ map { $_->{data}{task_id} } map { from_json($_->[1]) }
    map { $inbox->next } 1 .. 2 ], [ 'after', 'after' ],
    'and nothing was run in between');

# without an id each is a task of its own

my $anonymous = message('new_task', { input => '{"arg1": "x"}' });
is_deeply(post('echo', $anonymous), $ok, 'without an id') for 1 .. 2;
my %ids = map { $_->{data}{task_id} => 1 } grep {
    $_->{action} eq 'completed_task' } map { $inbox->json } 1 .. 4;
is(keys %ids, 2, 'two ids');
like($_, qr/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-
    [0-9a-f]{12}$/x, 'an id is a UUID') for keys %ids;


# The queue's limit

is_deeply(post('idle', new_task("q$_", { arg1 => 'x' })), $ok, "task $_ of 3")
    for 2, 3;
my $r = http_post($nginx->url('/idle/process_message'),
    new_task('q4', { arg1 => 'x' }));
is_deeply([ $r->{status}, from_json($r->{content}) ], $full, 'one too many');
like($r->{headers}{'retry-after'}, qr/^[1-9]\d*$/, 'Retry-After');
is_deeply(get('/idle/tasks/q4'), $not_found, 'it is not accepted');
is_deeply(post('idle', new_task('q3', { arg1 => 'x' })), $ok,
    'what is known is no more');


# Events

is_deeply(post('ask', human_response('nobody', '1')), $not_found,
    'an event for a task that is not known');
ok(!$redis->redis->exists('{llama_deploy.ask}:events:nobody'),
    'it is not kept');
is_deeply(post('ask', human_response('w', '42')), $ok, 'an answer');
is(($inbox->task('w'))[-1]{data}{result}, '42', 'the result');
is_deeply(post('ask', human_response('w', '43')), $ended,
    'an event for a task that has ended');

# the event may overtake the run, and the same message counts once

is_deeply(post('ask', new_task('w2', {})), $ok, 'another task');
is_deeply(post('ask', human_response('w2', '7', id_ => 'm1')), $ok,
    'an answer at once');
my $again = post('ask', human_response('w2', '7', id_ => 'm1'));
is($again->[0], 200, 'the same message again');
is(($inbox->task('w2'))[-1]{data}{result}, '7', 'the result');

# each counts that has not been taken by the run

is_deeply(post('deaf', new_task('d', {})), $ok, 'a task that does not run');
is_deeply(post('deaf', human_response('d', $_)), $ok, "event $_") for 1, 2;
is_deeply(post('deaf', human_response('d', 3)),
    [ 503, { detail => 'Too many events for the task' } ], 'event 3');
is($redis->redis->llen('{llama_deploy.deaf}:events:d'), 2, 'two are kept');


# Tasks that are not done, as both workers tell it

sub outstanding {
    my ($service, $number) = @_;
    my %told;

    wait_for {
        my $c = Workflow::Connection->new($nginx);
        $c->send(Workflow::Connection::text('GET', "/$service/"));
        my $r = $c->answer;
        $told{ $r->{headers}{'x-worker'} }
            = from_json($r->{content})->{num_outstanding_calls};
        keys %told == 2 && !grep { $_ ne $number } values %told;
    } 10, "both workers to tell of $number tasks";
    return 1;
}

ok(outstanding('idle', 3), 'three are queued');

ok(outstanding('sleeper', 0), 'none sleeps');
is_deeply(post('sleeper', new_task("s$_", { ms => 1500 })), $ok, "sleeper $_")
    for 1 .. 3;
ok(outstanding('sleeper', 3), 'three sleep');
state('sleeper', "s$_", 'completed') for 1 .. 3;
ok(outstanding('sleeper', 0), 'none does');

is_deeply(post('ask', new_task('w3', {})), $ok, 'a task that waits');
state('ask', 'w3', 'waiting');
ok(outstanding('ask', 1), 'it is outstanding');

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

done_testing;
