# What llama_deploy 0.4 gets wrong, and we do not: tests named after the numbers
# of its bugs in our notes about it, section 3.5.  Each begins with what happens
# there.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Workflow::Record;
use Workflow;
use Workflow::Load;
use Workflow::Plugin;

my $probe = Workflow::Plugin->new('probe');
my $chat = Workflow::Plugin->new('chat');
my $mirror = Workflow::Plugin->new('mirror');
my $redis = Workflow::Redis->new;

my %services = (
    ask => 'workflow ask; step_interval 10s;',
    chat => 'workflow chat; step_interval 10s;',
    counter => 'workflow counter;',
    echo => 'workflow echo; step_interval 10s;',
    gathers => 'workflow gathers;',
    keeps => 'workflow keeps; max_message_size 16m;',
    later => 'workflow echo; running off;',
    mirror => 'workflow mirror;',
    progress => 'workflow progress;',
    raising => 'workflow echo; raise_exceptions on;',
    sleeper => 'workflow sleeper;',
    spoils => 'workflow spoils;',
    forgets => 'workflow ask; result_ttl 1s;',
    typed => 'workflow progress; stream_event_types on;',
    typed_ask => 'workflow ask; stream_event_types on;',
    value => 'workflow value;',
);

my $common = join '', map({ "workflow_load \@PLUGINS\@/$_.so;\n" }
    qw(ask counter echo progress sleeper)),
    map({ 'workflow_load ' . $_->path . ";\n" } $probe, $chat, $mirror),
    "workflow_queue tasks { url @{[ $redis->url ]}; }\n";

sub nginx {
    my (%more) = @_;
    my %all = (%services, %more);
    return Workflow::Nginx->new(
        http => $common . join('', map { "workflow_service $_ { queue tasks; "
            . "max_attempts 1; $all{$_} }\n" } sort keys %all),
        locations => join '', map { "location /$_/ { workflow_pass $_; }\n" }
            sort keys %all);
}

my $nginx = nginx();
my $inbox = $redis->inbox('llama_deploy.control_plane');
my $n = 0;

$redis->subscribed(2, map { "llama_deploy.$_" } keys %services);

sub post {
    my ($service, $message) = @_;
    my $r = http_post($nginx->url("/$service/process_message"), $message);
    return [$r->{status}, eval { from_json($r->{content}) }];
}

sub publish {
    my ($service, $message) = @_;
    $redis->redis->publish("llama_deploy.$service", $message);
}

sub submit {
    my ($service, $input, %data) = @_;
    my $id = "$service-" . ++$n;
    my $r = post($service, new_task($id, $input, %data));
    $r->[0] == 200 or die "$id: $r->[0]";
    return $id;
}

# The events that a task has streamed, and its result; indexes are checked.

sub outcome {
    my ($id, $seconds) = @_;
    my @messages = map { $_->{data} } $inbox->task($id, $seconds);
    my $result = (pop @messages)->{result};
    is("@{[ map { $_->{index} } @messages ]}", "@{[ 0 .. $#messages ]}",
        "$id: indexes") if grep { $messages[$_]{index} != $_ } 0 .. $#messages;
    return ($result, map { $_->{data} } @messages);
}

sub result { return (outcome(submit(@_)))[0] }

# The results of tasks that run beside each other; more than one of a task are
# joined.

sub results {
    my %wanted = map { $_ => 1 } @_;
    my %results;

    while (keys %results < keys %wanted) {
        my $m = $inbox->json;
        my $id = $m->{data}{task_id};
        $results{$id} .= $m->{data}{result}
            if $m->{action} eq 'completed_task' && $wanted{$id};
    }

    return \%results;
}

sub task {
    my ($service, $id) = @_;
    my $r = http_get($nginx->url("/$service/tasks/$id"));
    return $r->{status} == 200 ? from_json($r->{content}) : {};
}

sub waiting {
    my ($service, $input, %data) = @_;
    my $id = submit($service, $input, %data);
    wait_for { (task($service, $id)->{status} // '') eq 'waiting' } 10,
        "$id to wait";
    return $id;
}

sub answer {
    my ($service, $id, $text) = @_;
    my $r = post($service, human_response($id, $text));
    return $r->[0];
}

sub key { return "{llama_deploy.$_[0]}:$_[1]" }

my $question = { prefix => 'Enter a number: ' };
my $nothing = { result => undef };
my $bug;

sub bug { $bug = "3.5 no. $_[0]: $_[1]" }


# A keyword argument called ctx, self or checkpoint_callback ends the task
# without a result.  Failures of a session's state are a control plane's part.

bug(1, 'arguments called ctx, self, checkpoint_callback are fields');

my $fields = { ctx => 1, self => { a => [] }, checkpoint_callback => undef,
    stepwise => JSON::PP::true };
is_deeply(from_json(result('mirror', $fields)), $fields, $bug);

# A session fails in every process but the one that began it, as Python's hash
# differs in each.  Here a run goes on in another nginx.  What later tasks of
# the session find is a control plane's part.

bug(2, 'a run goes on after a restart, and on another replica');

my $id = waiting('keeps', { value => 'kept', ask => JSON::PP::true },
    session_id => 'restarted');
$nginx->stop;
$nginx->log_ok;
$nginx = nginx();
is(answer('keeps', $id, 'yes'), 200, $bug);
is((outcome($id))[0], 'kept', $bug);
is(result('keeps', { value => 'next' }, session_id => 'restarted'), 'next',
    "$bug, and its session's next task");

# A task without a session ends without a result, as nothing can be saved.

bug(3, 'session_id null gives a result');

is(result('echo', { arg1 => 'null' }, session_id => undef), 'null_result',
    $bug);
publish('echo', message('new_task', { task_id => 'no-session',
    input => '{"arg1": "none"}' }));
is((outcome('no-session'))[0], 'none_result', "$bug, absent as well");

# A finished result is discarded when the state cannot be saved or serialised.
# That it goes out when the control plane is down is a later issue's.

bug(4, 'a context that cannot be serialised costs no result');

is(result('spoils', {}, session_id => 's'), 'refused', $bug);

# State with collected events in it cannot be serialised.

bug(5, 'collected events are saved');

$id = waiting('gathers', { part => 1 }, session_id => 's');
like(task_in($redis->redis, 'gathers', $id)->{saved},
    qr/"collected": \[\{.*"type": "PartEvent"/, "$bug, in Redis");
is(answer('gathers', $id, 'two'), 200, $bug);
is_deeply(from_json((outcome($id))[0]), [{ part => 1 }, { response => 'two' }],
    $bug);

# The event loop serialises, and waits meanwhile.

bug(6, 'large states and busy threads do not keep the event loop');

# more than the 8 threads of each worker

my @busy = map { "busy-$_" } 1 .. 20;
my @large = map { "large-$_" } 1 .. 6;
publish('sleeper', new_task($_, { ms => 500 })) for @busy;
wait_for { 16 == grep { (task('sleeper', $_)->{status} // '') eq 'running' }
    @busy } 5, 'all threads to be busy';
publish('keeps', new_task($_, { value => $_, ask => JSON::PP::true,
    pad => 4 * 1024 * 1024 })) for @large;
my ($longest, $gets) = (0, 0);

while (grep { (task('keeps', $_)->{status} // '') ne 'waiting' } @large) {
    my $begin = time;
    http_get($nginx->url('/keeps/'))->{status} == 200 or die;
    my $took = time - $begin;
    $longest = $took if $took > $longest;
    last if ++$gets == 5000;
}

cmp_ok($gets, '>', 1, "$bug: asked $gets times meanwhile");
cmp_ok($gets, '<', 5000, "$bug: all wait");
cmp_ok($longest, '<', 0.5, $bug);
answer('keeps', $_, 'yes') for @large;
is_deeply(results(@large), { map { $_ => $_ } @large }, "$bug, and come back");
wait_for { !grep { task('sleeper', $_)->{status} ne 'completed' } @busy } 10,
    'the sleepers';

# A malformed message is answered 500, which is ignored: lost, in silence.

bug(7, 'a malformed task is answered, and nothing is lost');

for my $bad ('hello', '[1]', '{"arg1":') {
    my $r = post('echo', new_task('bad', $bad));
    is($r->[0], 422, "$bug: $bad, HTTP");
    is_deeply($r->[1]{detail}[0]{loc}[2], 'input', "$bug: where");

    my $id = 'bad-' . ++$n;
    publish('echo', new_task($id, $bad));
    my ($result, @streamed) = outcome($id);
    like($result, qr/^body\.data\.input/, "$bug: $bad, Pub/Sub");
    is_deeply(\@streamed, [$nothing], "$bug: its stream ends");
}

is(task('echo', 'bad')->{status}, undef, "$bug: no task is left over");
is(result('echo', { arg1 => 'x' }), 'x_result', "$bug: the next one");
$id = waiting('ask', {});
is(post('ask', message('send_event', { task_id => $id, input => '{"a"' }))
    ->[0], 422, "$bug: a malformed event");
is(answer('ask', $id, '42'), 200, "$bug: the task still waits");
is((outcome($id))[0], '42', "$bug: for a good one");

# A failure is text in "result", as any result.

bug(8, 'a failure is told from a result');

my $error = "Error in step 'echo': arg1 is required.";
$id = submit('echo', {});
my ($result, @streamed) = outcome($id);
is($result, $error, "$bug: completed_task, as before");
is_deeply(\@streamed, [$nothing], "$bug: the stream");
is_deeply([@{ task('echo', $id) }{qw(status result error)}],
    ['failed', undef, $error], "$bug: the failed task");
$id = submit('value', { json => to_json($error) });
is((outcome($id))[0], $error, "$bug: the same text as a result");
is_deeply([@{ task('value', $id) }{qw(status result error)}],
    ['completed', $error, undef], "$bug: the completed task");

# The result is str() of what the workflow returned: its structure is lost.

bug(9, 'results keep their structure');

my $structure = { a => [1, 2.5, undef, JSON::PP::true], b => { c => "\"'" } };
$id = submit('value', { json => to_json($structure) });
($result, @streamed) = outcome($id);
is_deeply(from_json($result), $structure, "$bug: completed_task");
is_deeply($streamed[0]{result}, $structure, "$bug: the stream");
is_deeply(task('value', $id)->{result}, $structure, "$bug: the task");

# A streamed event that cannot be serialised ends the stream; the workflow goes
# on, watched by nobody.

bug(10, 'a streamed event that is no object fails the task, which ends');

for my $bad (undef, [1], 'text', 1) {
    $id = submit('value', { json => '1', stream => [{ a => 1 }, $bad] });
    ($result, @streamed) = outcome($id);
    is($result, "Error in step 'value': wf_stream: the fields of ValueEvent "
        . 'are not a JSON object', "$bug: " . to_json($bad));
    is_deeply(\@streamed, [{ a => 1 }, $nothing], "$bug: what was streamed");
    is(task('value', $id)->{status}, 'dead', "$bug: its state");
}

# With stepwise the run waits for a caller that steps it.

bug(11, 'stepwise true is a field, and nothing waits');

is(result('echo', { arg1 => 'x', stepwise => JSON::PP::true }), 'x_result',
    $bug);

# With raise_exceptions there is no result message, and nothing else either.

bug(12, 'raise_exceptions gives a dead letter');

$id = submit('raising', { other => 1 });
wait_for { (task('raising', $id)->{status} // '') eq 'dead' } 10, 'its end';
my ($letter) = map { +{ @{ $_->[1] } } }
    $redis->redis->xrange(key('raising', 'dead'), '-', '+');
is_deeply([@$letter{qw(task input error attempts)}],
    [$id, '{"other":1}', $error, 1], $bug);
like($nginx->log, qr/\[error\].*task "$id" failed: \Q$error\E/,
    "$bug, and a line of the log");
is_deeply([map { $_->{data}{data} } map { from_json($_->[1]) } $inbox->drain],
    [$nothing], "$bug: its stream ends");
is(result('raising', { arg1 => 'x' }), 'x_result', "$bug: the service goes on");

# The last of a session's tasks that run beside each other wins.  Contexts that
# outlive a task are a control plane's part; a task's own is here.

bug(16, 'tasks of a session beside each other do not mix');

my %value = map { submit('keeps', { value => "v$_", ms => 50 },
    session_id => 'same') => "v$_" } 1 .. 50;
is_deeply(results(keys %value), \%value, $bug);

# State grows with every task of a session.

bug(17, 'what is saved does not grow');

my @sizes;

for (1 .. 20) {
    $id = waiting('keeps', { value => 'v', ask => JSON::PP::true, pad => 1000 },
        session_id => 'growing');
    push @sizes, length task_in($redis->redis, 'keeps', $id)->{saved};
    answer('keeps', $id, 'yes');
    outcome($id);
}

cmp_ok($sizes[0], '>', 1000, "$bug: it is there");
cmp_ok($sizes[-1], '<', $sizes[0] + 20, $bug);
is(task_in($redis->redis, 'keeps', $id)->{saved}, undef,
    "$bug: and goes with the run");
is($redis->redis->exists(key('keeps', "saved:$id")), 0, "$bug: entirely");
is($redis->redis->xlen(key('keeps', 'queue')), 0, "$bug: no entry is left");
cmp_ok($redis->redis->ttl(key('keeps', "task:$id")), '>', 0,
    "$bug: nor is the task, some day");

# An empty state raises a KeyError, and there is no result.  No. 23: a state is
# unpickled, whoever wrote it.

for my $state ('{}', '', 'null', '{"run": {}}', 'gASVIQAAAAAAAACMBXBvc2l4lIwG',
    '{"index": 0, "spent": 0, "taken": 0, "run": {}}')
{
    bug(18, "a state that cannot be read is told, '$state'");
    $id = waiting('ask', {});
    put_task($redis->redis, 'ask', $id,
        { %{ task_in($redis->redis, 'ask', $id) }, saved => $state });
    is(answer('ask', $id, '1'), 200, $bug);
    ($result, @streamed) = outcome($id);

    # without any, the run begins anew
    is($result, $state eq '' ? '1'
        : 'The saved state of the run cannot be read.', $bug);
    is_deeply($streamed[0], $question, "$bug: what came before it");
}

# Events are buffered for each task for ever; a task id that is used again is
# given those of the task before.

bug(19, 'events do not outlive their task');

$id = waiting('forgets', {});
is(answer('forgets', $id, '1'), 200, $bug);
is((outcome($id))[0], '1', "$bug: an answer");
is(answer('forgets', $id, 'late'), 409, "$bug: one too late");
publish('forgets', human_response($id, 'later'));
wait_for { $nginx->log =~ /"$id": an event came after the task's end/ } 5,
    'the log';
wait_for { !$redis->redis->exists(key('forgets', "task:$id")) } 5,
    'the task to be forgotten';
is_deeply([$redis->redis->keys(key('forgets', 'events:*'))], [],
    "$bug: nothing is kept");
is(post('forgets', new_task($id, {}))->[0], 200, "$bug: its id again");
wait_for { (task('forgets', $id)->{status} // '') eq 'waiting' } 5, 'to wait';
is(answer('forgets', $id, 'new'), 200, "$bug: it waits for its own");
is((outcome($id))[0], 'new', "$bug: and gets it");

# One event is taken every 100 ms, and those left at the end are dropped.

bug(20, 'events are taken as they come');

my @said = map { "s$_" } 1 .. 100;
$id = waiting('chat', { n => scalar @said });
my $begin = time;
Workflow::Load::publish($redis->port, 'llama_deploy.chat',
    [map { human_response($id, $_) } @said], 10);
is_deeply(from_json((outcome($id))[0]), \@said, "$bug: each, in order");
cmp_ok(time - $begin, '<', 2, "$bug: a hundred in less than two seconds");

# Events for unknown tasks, of unknown types, are answered 200.

bug(21, 'who sends an event is told what becomes of it');

is(answer('ask', 'nobody', '1'), 404, "$bug: an unknown task");
$id = waiting('ask', {});
my $r = post('ask', send_event($id, 'StopEvent', { result => 1 }));
is($r->[0], 422, "$bug: a type that no step accepts");
like($r->[1]{detail}[0]{msg}, qr/does not accept events of type '[\w.]+\.StopE/,
    "$bug: which");
is(answer('ask', $id, '1'), 200, "$bug: one that is accepted");
is((outcome($id))[0], '1', "$bug: and taken");
is(answer('ask', $id, '1'), 409, "$bug: a task that has ended");

# What is no event is given to every step.

bug(22, 'what is no event is refused');

$id = waiting('ask', {});
is(post('ask', message('send_event', { task_id => $id, input => $_ }))->[0],
    422, "$bug: $_") for '{"response": "42"}', '"42"', 'null', '[]',
    '{"__is_pydantic": true, "value": {"response": "42"}}',
    '{"__is_pydantic": true, "value": 42, "qualified_name": '
        . '"llama_index.core.workflow.events.HumanResponseEvent"}';
is(task('ask', $id)->{status}, 'waiting', "$bug: the task has seen nothing");

# Whatever class a message names is imported.

bug(23, 'a name in a message is a name and nothing else');

sub loaded {
    my %files;
    for my $pid ($nginx->workers) {
        open my $file, '<', "/proc/$pid/maps" or die "/proc/$pid/maps: $!";
        m{(/\S+)$} && $files{$1}++ for <$file>;
    }
    return [sort keys %files];
}

my $before = loaded();
my $library = $probe->path;
is(post('ask', send_event($id, $_, { response => '42' }))->[0], 422,
    "$bug: $_") for 'os.system', 'builtins.eval', $library, "$library.so",
    'subprocess.Popen', '../../x.y';
is_deeply(loaded(), $before, "$bug: nothing is loaded");
is(answer('ask', $id, '42'), 200, "$bug: the task waits");
is((outcome($id))[0], '42', "$bug: for an event");

# A task starts after up to 100 ms; eight that wait for a human stop a service.

bug(24, 'runs that wait hold no slot, and tasks start at once');

my @waiting = map { waiting('ask', {}) } 1 .. 40;
my @seconds;

for (1 .. 9) {
    my $begin = time;
    push @waiting, submit('ask', {});
    1 while $inbox->json->{data}{task_id} ne $waiting[-1];
    push @seconds, time - $begin;
}

@seconds = sort { $a <=> $b } @seconds;
cmp_ok($seconds[4], '<', 0.1, $bug)
    || diag(join ' ', map { sprintf '%.1f', 1000 * $_ } @seconds);
answer('ask', $_, $_) for @waiting;
is_deeply(results(@waiting), { map { $_ => $_ } @waiting },
    "$bug: all are answered");

# Whoever does not listen just then never hears of a task, though its sender is
# told that all is well.

bug(31, 'what was accepted is run, whoever dies meanwhile');

my @accepted = map { submit('later', { arg1 => "l$_" }) } 1 .. 5;
publish('later', new_task('later-published', { arg1 => 'p' }));
wait_for { (task('later', 'later-published')->{status} // '') eq 'queued' } 5,
    'the published one';
my @pids = ($nginx->pid, $nginx->workers);
$nginx->stop('KILL');
kill 'KILL', @pids;
ok(!$nginx->alarms, "$bug: killed") || diag($nginx->alarms);

$nginx = nginx(later => 'workflow echo;');

is_deeply(results(@accepted, 'later-published'),
    { 'later-published' => 'p_result',
    map { ($accepted[$_] => "l@{[ $_ + 1 ]}_result") } 0 .. $#accepted }, $bug);

# Each replica runs each task.

bug(32, 'replicas share the tasks');

my $replica = nginx();
$redis->subscribed(4, 'llama_deploy.progress');

my $follower = Workflow::Load::Follower->new($redis->port,
    'llama_deploy.control_plane');
my @ids = map { "replica-$_" } 1 .. 100;

publish('progress', new_task($_, { arg1 => 'x' })) for @ids;
$follower->follow(100, 20);
$follower->settle(0.3);
is_deeply($follower->completed, { map { $_ => 1 } @ids },
    "$bug: one result each");
is_deeply($follower->streamed, { map { $_ => [0 .. 3] } @ids },
    "$bug: one stream each");
is($replica->stop, 0, 'the replica ends');
$replica->log_ok;
$inbox->drain;

# One bad message, a lost connection, a failed POST: the consumer ends, in
# silence.

bug(33, 'nothing ends the consumer');

sub consumes {
    my ($name) = @_;
    $redis->subscribed(2, 'llama_deploy.echo');
    my $id = 'consumed-' . ++$n;
    publish('echo', new_task($id, { arg1 => 'x' }));
    is((outcome($id, 5))[0], 'x_result', "$bug: $name");
}

publish('echo', 'garbage');
consumes('invalid JSON');
publish('echo', new_task('wrong', { arg1 => 'x' }) =~ s/\}$/,"type":"other"}/r);
consumes('the type of another service');
publish('echo', '{"action": "dance", "data": {}}');
consumes('an unknown action');

my $killed = $redis->redis->client_kill('TYPE', 'pubsub', 'SKIPME', 'yes');
cmp_ok($killed, '>=', 2, "$bug: connections that listen are closed");
$inbox = $redis->inbox('llama_deploy.control_plane');
consumes('lost connections');

$redis->stop('KILL');
is(post('echo', new_task('lost', { arg1 => 'x' }))->[0], 503,
    "$bug: without Redis nothing is accepted");
$redis->start;
$inbox = $redis->inbox('llama_deploy.control_plane');
consumes('a new Redis');

# A streamed event does not tell its type.

bug(43, 'streamed events tell their types');

sub types {
    my ($id) = @_;
    return [map { $_->{action} eq 'task_stream'
        ? $_->{data}{type} // 'none' : () } $inbox->task($id)];
}

# a worker may not have found the new Redis yet

my $typed = wait_for { eval { submit('typed', { arg1 => 'x' }) } } 10, 'a task';
is_deeply(types($typed), [('ProgressEvent') x 3, 'StopEvent'], $bug);
is_deeply(types(submit('progress', { arg1 => 'x' })), [('none') x 4],
    "$bug: if they are to");
my $asked = waiting('typed_ask', {});
answer('typed_ask', $asked, '42');
is_deeply(types($asked), [qw(InputRequiredEvent StopEvent)],
    "$bug: those of questions");
is_deeply(types(submit('typed', {})), ['StopEvent'], "$bug: those of failures");
publish('typed', new_task('typed-bad', '[1]'));
is_deeply(types('typed-bad'), ['StopEvent'], "$bug: those of bad messages");

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

done_testing;
