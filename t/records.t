# Tasks in Redis that are not as they should be, and scripts that fail half way:
# what is whole is run, once.

use strict;
use warnings;

use Test::More;
use Workflow;
use Workflow::Connection;
use Workflow::Published;
use Workflow::Record;

my $redis = Workflow::Redis->new(conf => "user nginx on nopass ~* &* +\@all\n");
my $r = $redis->redis;
my $prefix = '{llama_deploy.echo}:';

my $nginx = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/counter.so;
workflow_load \@PLUGINS\@/ask.so;
workflow_queue tasks { url @{[ $redis->url ]}; username nginx; password any;
    topic_namespace llama_deploy; }
workflow_service echo { workflow echo; queue tasks; lease 1s; }
workflow_service counter { workflow counter; queue tasks; }
workflow_service rare { workflow echo; queue tasks; step_interval 60s; }
workflow_service asks { workflow ask; queue tasks; step_interval 60s; }
HTTP
    locations => join '', map { "location /$_/ { workflow_pass $_; }\n" }
        qw(echo counter rare asks));

$redis->subscribed(1, 'llama_deploy.echo');
my $control = 'llama_deploy.control_plane';
my $published = Workflow::Published->new($redis, $control);

sub submit {
    my ($id, $service, %data) = @_;
    $service //= 'echo';
    is(http_post($nginx->url("/$service/process_message"),
        new_task($id, { arg1 => 'x' }, %data))->{status}, 200, "$id: accepted");
}

# Its result has been published, and nothing of it is left but that.

sub ends {
    my ($id, $service) = @_;
    $service //= 'echo';
    is($published->outcome($id)->{status}, 'completed', "$id: ends");
    is(task_in($r, $service, $id)->{state}, 'completed', "$id: completed");
    wait_for { !$r->xlen("{llama_deploy.$service}:queue") } 10, 'the queue';
    is($r->zcard("{llama_deploy.$service}:leases"), 0, "$id: no lease");
    is($r->exists("{llama_deploy.$service}:$_:$id"), 0, "$id: no $_")
        for qw(events saved);
}

submit('first');
ends('first');

# When it ended is told by Redis' clock, as when it came.

my $first = task_in($r, 'echo', 'first');
my ($seconds, $us) = $r->time;
cmp_ok($first->{updated}, '>=', $first->{created}, 'not ended before it came');
cmp_ok($first->{updated}, '<=', $seconds * 1000 + $us / 1000 + 5, 'nor later');
is($first->{streamed}, 1, 'with its StopEvent');


# A session's key that is none: its task is run without, and so are the others.

$r->set('{llama_deploy.counter}:session:odd', 'a string');
submit('even', 'counter', session_id => 'even');
submit('odd', 'counter', session_id => 'odd');
ends('even', 'counter');
ends('odd', 'counter');
is($r->hget('{llama_deploy.counter}:session:odd', 'count'), 1, 'and is saved');


# Keys that are no tasks, wherever there should be some.

$r->hset("${prefix}task:hash", 'state', 'running');
$r->set("${prefix}task:text", 'running');
$r->zadd("$prefix$_", 0, 'hash', 0, 'text', 0, 'none') for qw(leases timers);
$r->xadd("${prefix}queue", '*', 'task', $_, 'input', '{}')
    for qw(hash text none);
submit('among them');
ends('among them');
wait_for { !$r->zcard("${prefix}timers") } 10, 'timers';

for my $record ('running', "running\n", "running 1-1 w 1 1 0 - 2 1 0\n",
    map { "completed 1-1 w 1 1 0 - 2 1 0 $_\n12345" } 'result',
        'result=', 'result=x', 'result=6', 'session=3,result=3', 'result=2,,')
{
    $r->set("${prefix}task:text", $record);
    is(http_get($nginx->url('/echo/tasks/text'))->{status}, 500,
        "a record that is none: 500: $record");
}

$r->set("${prefix}task:text",
    "completed 1-1 w 1 1 0 - 2 1 0 other=2,result=3\n12345");
is(from_json(http_get($nginx->url('/echo/tasks/text'))->{content})->{result},
    345, 'a part of which nothing is known');
is(http_get($nginx->url('/echo/tasks/hash'))->{status}, 503,
    'no record: 503');
submit('hash');
ends('hash');


# A task whose entry is gone has died too often: a dead letter all the same, and
# though its stream is none.

$r->set("${prefix}dead", 'no stream');
$r->set("${prefix}task:lost", "running 1-1 nobody 3 3 0 - 2 1 0 -\n");
$r->zadd("${prefix}leases", 0, 'lost');
wait_for { (task_in($r, 'echo', 'lost')->{state} // '') eq 'dead' } 10,
    'its end';
my ($letter) = @{ $r->xrange("${prefix}dead", '-', '+') };
my %letter = @{ $letter->[1] };
is_deeply([@letter{qw(task input attempts)}], ['lost', '', 3], 'a dead letter');


# A claim that fails when it has read the queue: nothing is lost.

$r->acl('SETUSER', 'nginx', '-mset');
enqueue($r, 'echo', "claimed-$_", '{"arg1": "x"}') for 1 .. 3;
wait_for { $r->xpending("${prefix}queue", 'workers')->[0] } 10,
    'some to be read';
$r->acl('SETUSER', 'nginx', '+mset');
ends("claimed-$_") for 1 .. 3;
is(task_in($r, 'echo', "claimed-$_")->{attempts}, 1, 'once') for 1 .. 3;


# A claim whose answer was lost: tasks that were only claimed to be ended are
# ended, those that were given back are not taken again, and what is none goes.

my $worker = task_in($r, 'echo', 'claimed-1')->{worker};

sub pending {
    my ($id, $attempts, $mark) = @_;
    my $entry = $r->eval(<<'LUA', 1, "${prefix}queue", $id, $worker);
local entry = redis.call('XADD', KEYS[1], '*', 'task', ARGV[1], 'input',
                         '{"arg1": "x"}')
redis.call('XREADGROUP', 'GROUP', 'workers', ARGV[2], 'STREAMS', KEYS[1], '>')
return entry
LUA
    $r->set("${prefix}task:$id",
        "running $entry $worker 1 $attempts 0 $mark 2 1 0 -\n") if $mark;
}

$r->acl('SETUSER', 'nginx', '-mset');
pending('tired', 3, 'exhausted');
pending('given', 1, 'resume');
pending('gone');
enqueue($r, 'echo', 'trigger', '{"arg1": "x"}');
wait_for { $r->xpending("${prefix}queue", 'workers')->[0] == 4 } 10,
    'it to be read, too';
$r->acl('SETUSER', 'nginx', '+mset');
is($published->outcome('trigger')->{status}, 'completed', 'one that is whole');
wait_for { task_in($r, 'echo', 'tired')->{state} eq 'dead' } 10,
    'the exhausted one to end';
is(task_in($r, 'echo', 'given')->{state}, 'running',
    'given back: is left alone');
$r->zadd("${prefix}leases", 0, 'given');
ends('given');
is(task_in($r, 'echo', 'given')->{claim}, 2,
    'given back: until it is taken over');


# A claim that fails, and then its worker dies.

my ($pid) = $nginx->workers;
$r->acl('SETUSER', 'nginx', '-mset');
enqueue($r, 'echo', "read-$_", '{"arg1": "x"}') for 1 .. 3;
wait_for { $r->xpending("${prefix}queue", 'workers')->[0] } 10,
    'some to be read';
kill 'KILL', $pid;
$r->acl('SETUSER', 'nginx', '+mset');
ends("read-$_") for 1 .. 3;


# An end that fails when it has written the result: what is left is done later.

$r->acl('SETUSER', 'nginx', '-xack');
submit('halfway');
is($published->outcome('halfway')->{status}, 'completed',
    'halfway: published');
wait_for { $nginx->log =~ /can't run this command|to run the 'xack' command/ } 10,
    'a script to fail';
is($r->xlen("${prefix}queue"), 1, 'halfway: the entry is there');
$r->acl('SETUSER', 'nginx', '+xack');
wait_for { !$r->xlen("${prefix}queue") } 10, 'it to be done';
is($r->zcard("${prefix}leases"), 0, 'halfway: no lease');
submit('last');
ends('last');

# A worker that has nothing to do claims a task as it puts it into Redis, which
# it does not look at for a minute otherwise.

sub calls {
    my ($command) = @_;
    return ($r->info('commandstats')->{"cmdstat_$command"} // '')
        =~ /calls=(\d+)/ ? $1 : 0;
}

my ($pushes, $leases) = map { calls($_) } qw(rpush zadd);
submit('at once', 'rare');
ends('at once', 'rare');
is(calls('rpush'), $pushes, 'no bell was rung for it');
is(calls('zadd'), $leases + 1, 'it had a lease');

enqueue($r, 'rare', 'before', '{"arg1": "x"}');
submit('behind', 'rare');
ends($_, 'rare') for qw(before behind);

# A message that is taken half way, and then again.

$r->acl('SETUSER', 'nginx', '-zadd');
$r->publish('llama_deploy.rare', new_task('half', { arg1 => 'x' }));
wait_for { (task_in($r, 'rare', 'half')->{state} // '') eq 'running' } 10,
    'a script to fail behind that';
$r->acl('SETUSER', 'nginx', '+zadd');
ends('half', 'rare');

$r->del('{llama_deploy.rare}:queue');
submit('the group is gone', 'rare');
ends('the group is gone', 'rare');

# So does one that is given an event for a task that waits.

sub waits {
    my ($id) = @_;
    wait_for { (task_in($r, 'asks', $id)->{state} // '') eq 'waiting' } 10,
        "$id to wait";
}

sub answer {
    my ($id) = @_;
    is(http_post($nginx->url('/asks/process_message'),
        human_response($id, 'yes'))->{status}, 200, "$id: answered");
}

submit("asked-$_", 'asks') for 1, 2;
waits("asked-$_") for 1, 2;
($pushes, $leases) = map { calls($_) } qw(rpush zadd);
answer('asked-1');
ends('asked-1', 'asks');
is(task_in($r, 'asks', 'asked-1')->{claim}, 2, 'claimed twice');
is(calls('rpush'), $pushes + 1, 'no bell was rung, there was an event');
is(calls('zadd'), $leases + 1, 'it had a lease');

enqueue($r, 'asks', 'asked-before', '{}');
answer('asked-2');
is($published->outcome('asked-2')->{status}, 'completed', 'asked-2: ends');
waits('asked-before');
answer('asked-before');
ends('asked-before', 'asks');


# Answers that are not waited for.

$redis->signal('STOP');
is(http_post($nginx->url('/rare/process_message'),
    new_task('late', { arg1 => 'x' }))->{status}, 503,
    'Redis does not answer: 503');
$redis->signal('CONT');
ends('late', 'rare');

$redis->signal('STOP');
my $client = Workflow::Connection->new($nginx);
$client->send(Workflow::Connection::text('POST', '/rare/process_message',
    new_task('left', { arg1 => 'x' })));
$client->close;
wait_for { $nginx->log =~ /client prematurely closed connection/ } 10,
    'nginx to see that its client has left';
$redis->signal('CONT');
ends('left', 'rare');

is_deeply([$published->faults(sub { $control })], [],
    'everything is published once');

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok(qr/exited on signal 9/);

done_testing;
