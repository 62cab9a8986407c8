# What goes wrong with Redis and on the way there, while tasks are run: each of
# them ends once, and what they stream comes once, in order.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::Fault;

my $t = Workflow::Fault->new(proxy => 1,
    redis => "appendonly yes\nappendfsync always\n",
    queue => 'command_timeout 1s; connect_timeout 1s;', service => <<'SERVICE');
max_concurrent_tasks 4; checkpoint 20ms; retry_delay 100ms; lease 2s;
step_interval 500ms;
SERVICE
my $redis = $t->client;
my $n = 0;

# Tasks of all kinds; those that ask wait for respond().

sub tasks {
    my ($count, %input) = @_;
    my $group = 'group' . ++$n;
    return map { $t->accept("$group-$_", steps => 1 + $_ % 3, ms => 60,
        events => $_ % 4, fail => $_ % 5 ? 0 : 1, ask => $_ % 7 ? 0 : 1,
        %input) } 1 .. $count;
}

# The answer to each script is lost when it has been run.

my %script = (
    accept => {}, claim => { fail => 1 },
    emit => { events => 2, steps => 2, ms => 50 },
    checkpoint => { steps => 3, ms => 60 }, park => { ask => 1 },
    event => { ask => 1 }, retry => { fail => 1 },
    finish => { events => 3, steps => 2, ms => 50 },
    renew => { ms => 900 },
);

my %claims = (claim => 2, park => 2, event => 2, retry => 2);

for my $script (sort keys %script) {
    for my $bytes (0, 3) {
        next if $script eq 'renew' && $bytes;
        $t->proxy->cut_at($t->sum($script), $bytes);
        my $id = "$script-$bytes";

        # what the worker itself asks for may have been cut before

        wait_for { $t->submit($id, %{ $script{$script} }) == 200 } 10,
            "$id to be accepted";
        $t->respond($id);
        $t->once_ok("an answer to $script is cut behind $bytes bytes", $id);
        ok($t->proxy->has_cut, 'it was cut');
        my %ran;
        $ran{$_}++ for $t->steps($id);
        is(scalar(grep { $_ != 1 } values %ran), 0, 'no step is repeated');
        is($t->field($id, 'claim'), $claims{$script} // 1,
            'and nobody had to take it over');
        $t->proxy->heal;
    }
}

# All connections are cut somewhere, again and again; then dropped.

my @ids = tasks(40);

for my $bytes (1, 7, 30, 100, 333, 1000) {
    $t->proxy->cut($bytes);
    sleep 0.15;
    $t->proxy->heal;
}

$t->respond(@ids);
$t->once_ok('connections are cut', @ids);

@ids = tasks(40);

for (1 .. 5) {
    $t->proxy->drop;
    sleep 0.15;
}

$t->respond(@ids);
$t->once_ok('connections are dropped', @ids);

# Each connection, one after the other.

@ids = tasks(40);
my %own = map { $_ => 1 } $redis->client_id, map { /^id=(\d+)/ } grep {
    /addr=\S+:@{[ $t->{follower}{socket}->sockport ]} / }
    split /\n/, $redis->client_list;
my @clients = grep { !$own{$_} } map { /^id=(\d+)/ }
    split /\n/, $redis->client_list;
is(scalar @clients, 6, 'two workers have three connections each');

for my $client (@clients) {
    $redis->client_kill('ID', $client);
    sleep 0.03;
}

$t->respond(@ids);
$t->once_ok('each connection is killed', @ids);

# Scripts are forgotten, the group is gone, tasks under way.

@ids = tasks(40);

for (1 .. 5) {
    $redis->script('FLUSH');
    sleep 0.05;
}

$t->respond(@ids);
$t->once_ok('scripts are forgotten', @ids);

@ids = tasks(40);

for (1 .. 3) {
    $redis->xgroup('DESTROY', '{llama_deploy.stairs}:queue', 'workers');
    sleep 0.1;
}

$t->respond(@ids);
$t->once_ok('the group is destroyed', @ids);

# It takes no writes.

@ids = tasks(20);
$redis->replicaof('127.0.0.1', 1);
is($t->submit('readonly'), 503, 'READONLY: 503');
sleep 0.7;
$redis->replicaof('NO', 'ONE');
$t->respond(@ids);
$t->once_ok('READONLY', @ids);

# No memory, while events are streamed and results written.

@ids = tasks(8, steps => 3, events => 40, pad => 2000, ms => 150);
$t->reaches($ids[0], '1/1');
$redis->config_set('maxmemory', 1);
is($t->submit('oom'), 503, 'out of memory: 503');
$t->publish('published', steps => 2, ms => 700);
sleep 3;
ok((grep { $t->field($_, 'state') ne 'completed' } @ids) > 0,
    'out of memory: they wait');
$redis->config_set('maxmemory', 0);
$t->respond(@ids);
$t->once_ok('out of memory', @ids, 'published');
is($t->field('published', 'claim'), 1,
    'out of memory for longer than a lease: which begins when it is taken');

# It cannot save, and takes no writes.

@ids = tasks(16);
mkdir $t->redis->dir . '/dump.rdb' or die "dump.rdb: $!";
$redis->config_set('save', '3600 100000');
$redis->bgsave;
wait_for { $redis->info->{rdb_last_bgsave_status} eq 'err' } 10, 'an error';
is($t->submit('misconf'), 503, 'MISCONF: 503');
sleep 0.3;
$redis->config_set('save', '');
rmdir $t->redis->dir . '/dump.rdb' or die "dump.rdb: $!";
$redis->config_set('stop-writes-on-bgsave-error', 'no');
$t->respond(@ids);
$t->once_ok('MISCONF', @ids);

# It is busy with somebody's script.

@ids = tasks(16);
$redis->config_set('lua-time-limit', 50);
my $busy = fork // die "fork: $!";

if (!$busy) {
    eval { $t->redis->client->eval('while true do end', 0) };
    POSIX::_exit(0);
}

wait_for { !eval { $redis->dbsize; 1 } && $@ =~ /BUSY/ } 5, 'BUSY';
sleep 0.7;
$redis->script('KILL');
waitpid $busy, 0;
$t->respond(@ids);
$t->once_ok('BUSY', @ids);

# What is streamed later is taken, and what came before it is not: it waits.

$t->accept('early', steps => 2, ms => 500);
wait_for { $t->field('early', 'streamed') } 10, 'an event';
$redis->acl('SETUSER', 'default', '-persist');
my $before = length $t->nginx->log;
my $refused = qr/can't run this command|to run the 'persist' command/;
wait_for { substr($t->nginx->log, $before) =~ /GAP(?:.*$refused){3}/s } 10,
    'both to be sent again, twice';
is($t->field('early', 'state'), 'running', 'its end waits');
is($t->field('early', 'streamed'), 1, 'for the other event');
$redis->acl('SETUSER', 'default', '+persist');
$t->once_ok('its end comes behind what it has streamed', 'early');

# Redis has lost what it had answered, as by a failover to a replica that it had
# not reached: that does not come again, and what follows is not waited for by
# others.

sub forgets {
    my ($id) = @_;
    wait_for { $t->field($id, 'streamed') } 10, "$id to stream";
    $redis->eval(<<'LUA', 1, Workflow::Record::key('stairs', $id));
local text = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], (string.gsub(text, '^(running %S+ %S+ %d+ %d+) %d+',
                                        '%1 0')))
LUA
    is($t->field($id, 'streamed'), 0, "$id: it has streamed nothing");
}

my %lost = ('at its end' => { ms => 700 }, 'at two' => { steps => 2, ms => 700 },
    'one behind the other' => { steps => 4, ms => 300 },
    'as it waits' => { ms => 700, ask => 1 });

for my $id (sort keys %lost) {
    my $gaps = () = $t->nginx->log =~ /GAP/g;
    $t->accept($id, %{ $lost{$id} });
    forgets($id);
    wait_for { $gaps < (() = $t->nginx->log =~ /GAP/g) } 10, 'it to be noticed';
    $t->accept("beside $id");
    $t->respond($id);
    $t->once_ok("events are lost $id", $id, "beside $id");
    is($t->field($id, 'claim'), $lost{$id}{ask} ? 2 : 1,
        'and nobody had to take it over');
}

# It stands still: longer than command_timeout, and longer than a lease.

for my $seconds (1.2, 3) {
    @ids = tasks(8, ms => 300);
    $t->reaches($ids[0], '1/1');
    $t->redis->signal('STOP');
    sleep $seconds;
    $t->redis->signal('CONT');
    $t->respond(@ids);
    $t->once_ok("it stands still for $seconds s", @ids);
}

# It is killed, and back with what it had.

@ids = tasks(24, ms => 150);
my @waiting = map { $t->accept("aof-$_", ask => 1) } 1 .. 3;
$t->is_in('waiting', @waiting);
$t->kill_redis;
sleep 0.2;
$t->restart_redis;
$t->respond(@ids, @waiting);
$t->once_ok('it is killed', @ids, @waiting);

# It is killed, and has nothing any more: what ran is no task now.

@ids = tasks(4, steps => 2, ms => 400, events => 1, ask => 0, fail => 0);
$t->reaches($_, '1/1') for @ids;
$t->redis->stop('KILL');
$t->redis->start(conf => '');
is($t->client->dbsize, 0, 'it has forgotten all');
$t->follow;
wait_for { $t->subscribers == 2 } 10, 'subscribers';
wait_for { 4 == (() = $t->nginx->log =~ /"group$n-\d+" is not this worker's/g) }
    10, 'tasks to be given up';
my ($gone) = grep { $t->{follower}{completed}{$_} } @ids;
is($gone, undef, 'it is empty: no results of what is not known');
$t->{follower}{streamed} = {};
wait_for { $t->submit($_, steps => 2, ms => 20) == 200 } 10, 'a POST' for @ids;
$t->once_ok('they may be sent again', @ids);

# Every chunk takes a millisecond more, each way.

$t->proxy->delay(1);
my $begin = time;
@ids = tasks(100, ms => 0);
$t->respond(@ids);
$t->once_ok('it is a millisecond away', @ids);
cmp_ok(time - $begin, '<', 10, 'that takes not too long');

is($t->client->zcard("{llama_deploy.stairs}:leases"), 0, 'no leases are left');
is($t->client->xlen('{llama_deploy.stairs}:queue'), 0, 'the queue is empty');

$t->end_ok;

done_testing;
