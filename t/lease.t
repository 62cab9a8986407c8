# Leases: tasks of workers that die, stand still or leave are run by others,
# and end once.

use strict;
use warnings;

use Test::More;
use Workflow;
use Workflow::Connection;
use Workflow::Record;

my $redis = Workflow::Redis->new;

sub nginx {
    my ($service, %options) = @_;
    return Workflow::Nginx->new(http => <<"HTTP", locations => <<'LOCATIONS', %options);
workflow_load \@PLUGINS\@/sleeper.so;
workflow_load \@PLUGINS\@/ask.so;
workflow_load \@PLUGINS\@/flaky.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service sleeper { workflow sleeper; queue tasks; timeout 60s; $service }
workflow_service ask { workflow ask; queue tasks; $service }
workflow_service flaky { workflow flaky; queue tasks; $service }
HTTP
location /sleeper { workflow_pass sleeper; }
location /ask { workflow_pass ask; }
location /flaky { workflow_pass flaky; }
LOCATIONS
}

sub task {
    my ($nginx, $service, $id) = @_;
    my $r = http_get($nginx->url("/$service/tasks/$id"));
    return $r->{status} == 200 ? from_json($r->{content}) : {};
}

sub worker_of {
    my ($nginx, $service, $id) = @_;
    my $name = wait_for {
        my $worker = task_in($redis->redis, $service, $id)->{worker} // '-';
        $worker ne '-' && $worker;
    } 10, 'a worker';
    return $name =~ /-(\d+)-\w+$/ ? $1 : die $name;
}

sub ended {
    my ($nginx, $service, $id, $seconds) = @_;
    my $task;
    wait_for {
        $task = task($nginx, $service, $id);
        ($task->{status} // '') =~ /completed|failed|dead|cancelled/;
    } $seconds, "$id to end";
    return $task;
}

sub submit {
    my ($nginx, $service, $id, $input) = @_;
    my $r = http_post($nginx->url("/$service/process_message"),
        new_task($id, $input));
    is($r->{status}, 200, "$id accepted");
}

my $inbox = $redis->inbox('llama_deploy.control_plane');

sub results {
    my ($id) = @_;
    my @results = grep { $_->{action} eq 'completed_task'
        && $_->{data}{task_id} eq $id } map { from_json($_->[1]) }
        $inbox->drain(0.3);
    return @results;
}

{
    my $nginx = nginx('');

    submit($nginx, 'sleeper', 'killed', { ms => 1500 });
    my $pid = worker_of($nginx, 'sleeper', 'killed');
    my $begin = time;
    kill 'KILL', $pid;
    my $task = ended($nginx, 'sleeper', 'killed', 15);
    is($task->{status}, 'completed', 'a killed worker: its task completes');
    is($task->{attempts}, 2, 'at the second attempt');
    cmp_ok(time - $begin, '<', 6, 'long before its lease ends');
    is(scalar(results('killed')), 1, 'and once');

    submit($nginx, 'sleeper', 'crasher', { ms => 3000 });
    for (1 .. 3) {
        wait_for { (task($nginx, 'sleeper', 'crasher')->{attempts} // 0) == $_ } 15,
            "attempt $_";
        kill 'KILL', worker_of($nginx, 'sleeper', 'crasher');
    }
    $task = ended($nginx, 'sleeper', 'crasher', 15);
    is($task->{status}, 'dead', 'three crashes use up the attempts');
    is(scalar(results('crasher')), 1, 'one result');
    is($redis->redis->xlen('{llama_deploy.sleeper}:dead'), 1, 'a dead letter');

    $nginx->stop;
    ok(!$nginx->alarms(qr/exited on signal 9/), 'no alarms')
        or diag $nginx->alarms;
}

{
    my $nginx = nginx('lease 1s;');

    submit($nginx, 'sleeper', 'stopped', { ms => 3000 });
    my $pid = worker_of($nginx, 'sleeper', 'stopped');
    kill 'STOP', $pid;
    wait_for { worker_of($nginx, 'sleeper', 'stopped') != $pid } 10, 'takeover';
    kill 'CONT', $pid;
    my $task = ended($nginx, 'sleeper', 'stopped', 15);
    is($task->{status}, 'completed', 'a worker that stood still');
    is($task->{attempts}, 2, 'its task was taken over');
    is(scalar(results('stopped')), 1, 'one result');
    like($nginx->log, qr/not this worker's any more/, 'the log says so');

    submit($nginx, 'sleeper', 'long', { ms => 3500 });
    $task = ended($nginx, 'sleeper', 'long', 15);
    is($task->{attempts}, 1, 'a lease is renewed');

    $nginx->stop;
    $nginx->log_ok;
}

{
    my $nginx = nginx('max_attempts 3; retry_delay 200ms;');

    $inbox->drain(0.1);
    submit($nginx, 'flaky', 'flaky', { fail => 100 });
    my $task = ended($nginx, 'flaky', 'flaky', 30);
    is($task->{status}, 'dead', 'used up');
    is($task->{attempts}, 3, 'three attempts');
    is($task->{error}, "Error in step 'attempt': failed on purpose", 'error')
        or diag explain $task;
    my @all = $inbox->drain(0.3);
    is(scalar(grep { $_->[1] =~ /completed_task/ } @all), 1, 'one result');
    is(scalar(grep { $_->[1] =~ /task_stream/ } @all), 1, 'one StopEvent');

    submit($nginx, 'sleeper', 'cancelled', { ms => 30000 });
    worker_of($nginx, 'sleeper', 'cancelled');
    my $r = HTTP::Tiny->new->delete($nginx->url('/sleeper/tasks/cancelled'));
    is($r->{status}, 202, 'cancel');
    $task = ended($nginx, 'sleeper', 'cancelled', 5);
    is($task->{status}, 'cancelled', 'a running task is cancelled');

    submit($nginx, 'ask', 'asked', {});
    wait_for { (task($nginx, 'ask', 'asked')->{status} // '') eq 'waiting' } 5;
    $r = HTTP::Tiny->new->delete($nginx->url('/ask/tasks/asked'));
    is($r->{status}, 202, 'cancel');
    $task = ended($nginx, 'ask', 'asked', 5);
    is($task->{status}, 'cancelled', 'a waiting task is cancelled');
    is($task->{stream_events}, 2, 'question and StopEvent');
    is(HTTP::Tiny->new->delete($nginx->url('/ask/tasks/asked'))->{status}, 409,
        'ended');
    is(HTTP::Tiny->new->delete($nginx->url('/ask/tasks/none'))->{status}, 404,
        'unknown');

    $nginx->stop;
    $nginx->log_ok;
}

{
    my $nginx = nginx('drain_timeout 300ms;');

    submit($nginx, 'sleeper', 'drained', { ms => 2000 });
    my $pid = worker_of($nginx, 'sleeper', 'drained');
    $nginx->reload;
    my $task = ended($nginx, 'sleeper', 'drained', 15);
    is($task->{status}, 'completed', 'drained');
    is($task->{attempts}, 1, 'no attempt is lost');
    is(scalar(results('drained')), 1, 'one result');
    $nginx->stop;
    $nginx->log_ok;
}

# Bytes that were sent to Redis, which has not read them.

sub unread {
    my $port = sprintf '%04X', $redis->port;
    my $bytes = 0;

    open my $sockets, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";
    /^ *\d+: \w+:$port \w+:\w+ 01 \w+:(\w+)/ and $bytes += hex $1
        while <$sockets>;
    return $bytes;
}

sub send_task {
    my ($nginx, $id, $ms) = @_;
    my $client = Workflow::Connection->new($nginx);
    $client->send(Workflow::Connection::text('POST',
        '/sleeper/process_message', new_task($id, { ms => $ms })));
    return $client;
}

# A worker claims the first task of the queue as it puts another one there, and
# stands still before it knows: that other one is run elsewhere.

{
    my $still = nginx('step_interval 60s;', workers => 1);
    $redis->subscribed(1, 'llama_deploy.sleeper');
    my ($pid) = $still->workers;

    # behind this one no claim is under way any more
    submit($still, 'sleeper', 'start', { ms => 1 });
    is(ended($still, 'sleeper', 'start', 10)->{status}, 'completed', 'start');

    enqueue($redis->redis, 'sleeper', 'before', '{"ms": 1}');
    $redis->signal('STOP');
    my $client = send_task($still, 'behind', 1);
    wait_for { unread() } 10, 'what the worker sends';
    kill 'STOP', $pid;
    $redis->signal('CONT');
    wait_for { task_in($redis->redis, 'sleeper', 'behind')->{state} } 10,
        'it to be taken';
    is(task_in($redis->redis, 'sleeper', 'before')->{state}, 'running',
        'the first one is claimed');

    my $other = nginx('lease 30s;', workers => 1);
    is(ended($other, 'sleeper', 'behind', 10)->{status}, 'completed',
        'a task that was put there by a worker that stands still');
    kill 'CONT', $pid;
    is(ended($other, 'sleeper', 'before', 10)->{status}, 'completed',
        'and the one that it has');

    for ($still, $other) {
        is($_->stop, 0, 'nginx ends');
        $_->log_ok;
    }
}

# A worker reads another task than the one whose event it takes, and stands
# still before it knows: both are run elsewhere.

{
    my $still = nginx('step_interval 60s;', workers => 1);
    $redis->subscribed(1, 'llama_deploy.ask');
    my ($pid) = $still->workers;

    submit($still, 'ask', 'resumed', {});
    wait_for { task_in($redis->redis, 'ask', 'resumed')->{state} eq 'waiting' } 10,
        'it to wait';

    enqueue($redis->redis, 'ask', 'ahead', '{}');
    $redis->signal('STOP');
    my $client = Workflow::Connection->new($still);
    $client->send(Workflow::Connection::text('POST', '/ask/process_message',
        human_response('resumed', '42')));
    wait_for { unread() } 10, 'what the worker sends';
    kill 'STOP', $pid;
    $redis->signal('CONT');
    wait_for { task_in($redis->redis, 'ask', 'resumed')->{state}
        ne 'waiting' } 10, 'the event to be taken';
    is($redis->redis->xpending('{llama_deploy.ask}:queue', 'workers')->[0], 1,
        'the other one is read');

    my $other = nginx('lease 30s;', workers => 1);
    wait_for { task_in($redis->redis, 'ask', 'ahead')->{state} eq 'waiting' } 10,
        'a task that was read by a worker that stands still';
    pass('it was run');
    is(ended($other, 'ask', 'resumed', 10)->{status}, 'completed',
        'and the one with an event');

    kill 'CONT', $pid;
    HTTP::Tiny->new->delete($other->url('/ask/tasks/ahead'));
    is(ended($other, 'ask', 'ahead', 10)->{status}, 'cancelled', 'ahead ends');

    for ($still, $other) {
        is($_->stop, 0, 'nginx ends');
        $_->log_ok;
    }
}

# Two tasks for a worker that has one slot, and a claim under way: the other
# worker is woken for one of them.

{
    my $first = nginx('max_concurrent_tasks 1;', workers => 1);
    my $second = nginx('max_concurrent_tasks 1; step_interval 60s;',
        workers => 1);
    $redis->subscribed(2, 'llama_deploy.sleeper');

    $redis->signal('STOP');
    wait_for { unread() } 10, 'a claim';
    my @clients = map { send_task($first, "shared-$_", 30_000) } 1, 2;
    wait_for { unread() > 1500 } 10, 'two tasks';
    $redis->signal('CONT');
    wait_for { 2 == grep { (task($first, 'sleeper', $_)->{status} // '')
        eq 'running' } map { "shared-$_" } 1, 2 } 10, 'both to run';
    pass('both run');
    HTTP::Tiny->new->delete($first->url("/sleeper/tasks/shared-$_")) for 1, 2;
    is(ended($first, 'sleeper', "shared-$_", 10)->{status}, 'cancelled',
        "shared-$_ ends") for 1, 2;

    for ($first, $second) {
        is($_->stop, 0, 'nginx ends');
        $_->log_ok;
    }
}

done_testing;
