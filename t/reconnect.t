# Redis goes away and comes back, in all the ways it has: nginx goes on serving,
# says 503 meanwhile, and consumes again by itself, by HTTP and by Pub/Sub.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::Load;
use Workflow::Plugin;

my $durable = "appendonly yes\nappendfsync always\n";

my $probe = Workflow::Plugin->new('probe');
my $redis = Workflow::Redis->new(conf => $durable);

sub conf {
    my ($extra) = @_;
    return <<"HTTP";
workflow_load @{[ $probe->path ]};
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $redis->url ]}; command_timeout 1s;
    connect_timeout 1s; $extra }
workflow_service echo { workflow echo; queue tasks; step_interval 1s; }
workflow_service gauge { workflow gauge; queue tasks; step_interval 1s;
    max_concurrent_tasks 2; timeout 60s; }
HTTP
}

my $locations = join '', map { "location /$_/ { workflow_pass $_; }\n" }
    qw(echo gauge);
my @topics = map { "llama_deploy.$_" } qw(echo gauge);

# Redis is not there yet when nginx starts.

$redis->stop;

my $nginx = Workflow::Nginx->new(http => conf(''), locations => $locations);
my @workers;
my $n = 0;

sub post {
    my ($service, $message) = @_;
    return http_post($nginx->url("/$service/process_message"), $message);
}

# Tasks of so many microseconds, posted at once: each waits for the disk.

sub gauges {
    my ($us, @ids) = @_;
    is_deeply(Workflow::Load::post($nginx->port, '/gauge/process_message',
        [map { new_task($_, { us => $us }) } @ids], 20),
        { 200 => scalar @ids }, 'accepted');
}

sub follower {
    return Workflow::Load::Follower->new($redis->port,
        'llama_deploy.control_plane');
}

# What nginx logs from here on.

my $mark = 0;
my $marked;

sub mark {
    $mark = length $nginx->log;
    $marked = time;
}

sub logged { return substr $nginx->log, $mark }

# Six connections that try for ever, less and less often: 50, 100, 200 ms and
# so on; of each try two or three lines.

sub not_flooded {
    my ($name) = @_;
    my @lines = split /\n/, logged();
    cmp_ok(scalar @lines, '<', 100, "$name: the log is not flooded in "
        . sprintf('%.1f s', time - $marked)) || diag(map { "$_\n" }
        @lines[0 .. 30]);
}

# While Redis is away.

sub unavailable {
    my ($name) = @_;
    my $r;

    ok(eval { wait_for { $r = post(echo => new_task('away-' . ++$n,
        { arg1 => 'x' })); $r->{status} == 503 } 5 }, "$name: 503");
    is($r->{headers}{'retry-after'}, 1, "$name: Retry-After");
    is($r->{content}, '{"detail":"Redis cannot be reached"}',
        "$name: and why");
    is(http_get($nginx->url('/echo/'))->{status}, 200, "$name: GET / works");
    is(http_get($nginx->url('/echo/tasks/1'))->{status}, 503,
        "$name: GET tasks/1 does not");
}

# The connections of the two workers, of each kind, once they are in use.

my %kinds = (
    commands => sub { $_[0]{cmd} =~ /^(?:evalsha|script|get|lrange|rpush)/ },
    'blocking reads' => sub { $_[0]{cmd} eq 'blpop' },
    'Pub/Sub' => sub { $_[0]{sub} > 0 },
);

sub clients {
    my ($kind) = @_;
    my $own = $redis->redis->client_id;
    my @clients = map { +{ /(\S+?)=(\S*)/g } }
        split /\n/, $redis->redis->client_list;
    return grep { $_->{id} != $own && $kinds{$kind}->($_) } @clients;
}

# Each worker connects at its own time.

sub connected {
    my ($name) = @_;
    wait_for { clients('commands') == 2 } 10, "$name: both workers";
}

# Back within a few seconds, by both ways, without anybody's help.

sub back {
    my ($name) = @_;
    my $start = time;

    $redis->answers;
    delete $redis->{client};

    ok(eval { $redis->subscribed(2, @topics); 1 }, "$name: subscribed again")
        || return;
    connected($name);
    ok(eval { wait_for { post(echo => new_task('back-' . ++$n,
        { arg1 => 'x' }))->{status} == 200 } 6 }, "$name: POST again");

    my $inbox = $redis->inbox('llama_deploy.control_plane');

    for my $way ('HTTP', 'Pub/Sub') {
        my $id = 'after-' . ++$n;
        my $message = new_task($id, { arg1 => 'x' });

        if ($way eq 'HTTP') {
            ok(eval { wait_for { post(echo => $message)->{status} == 200 } 6 },
                "$name: accepted");

        } else {
            $redis->redis->publish('llama_deploy.echo', $message);
        }

        my @messages = eval { $inbox->task($id, 6) };
        is($messages[1]{data}{result}, 'x_result', "$name: consumes, $way");
    }

    cmp_ok(time - $start, '<', 7, "$name: within seconds");
    is_deeply([$nginx->workers], \@workers, "$name: by the same workers");
}

sub once {
    my ($name, $follower, @ids) = @_;
    is(eval { $follower->follow(scalar @ids, 15); 1 }, 1, "$name: all end");
    $follower->settle(0.3);
    is_deeply($follower->completed, { map { $_ => 1 } @ids },
        "$name: each completed once");
    is_deeply($follower->streamed, { map { $_ => [0] } @ids },
        "$name: each streamed once");
}

sub running {
    my ($count) = @_;
    wait_for { $redis->redis->zcard('{llama_deploy.gauge}:leases') == $count }
        10, "$count to run";
}

wait_for { (@workers = $nginx->workers) == 2 } 5, 'two workers';
mark();
unavailable('not there yet');
sleep 1;
like(logged(), qr/\[error\] .*redis 127\S+ \(commands\): Connection refused,/,
    'not there yet: the log says so');
not_flooded('not there yet');
$redis->start;
back('not there yet');
like(logged(), qr/\[notice\] .*redis 127\S+ \(commands\): connected/,
    'not there yet: the log says that it is there');

# It stops and comes back.

mark();
$redis->stop;
unavailable('stopped');
sleep 1.5;
not_flooded('stopped');
is(scalar(() = logged() =~ /\[warn\] .*messages that are published until/g), 2,
    'stopped: each worker warns once');
$redis->start;
back('stopped');

# A run ends while it is away: its result is written when it is back.  Workers
# are stopped until somebody is there to see it.

my @ids = map { "ended-$_" } 1 .. 2;
gauges(2_000_000, @ids);
running(2);
$redis->stop;
sleep 2.2;      # the runs end
kill STOP => @workers;
$redis->start;
my $follower = follower();
kill CONT => @workers;
once('a result that had to wait', $follower, @ids);
connected('a result that had to wait');
like(http_get($nginx->url('/gauge/tasks/ended-1'))->{content},
    qr/"status":"completed"/, 'a result that had to wait: is there');

# It hangs longer than command_timeout.

mark();
@ids = map { "hung-$_" } 1 .. 8;
$follower = follower();
gauges(1_000_000, @ids);
running(4);
$redis->signal('STOP');
my $start = time;
is(post(echo => new_task('hung', { arg1 => 'x' }))->{status}, 503,
    'hung: 503');
cmp_ok(time - $start, '<', 2, 'hung: after command_timeout');
unavailable('hung');
sleep 1;
like(logged(), qr/\[error\] .*\(commands\): no answer in time, dropping/,
    'hung: the log says so');
not_flooded('hung');
$redis->signal('CONT');
$follower->follow(8, 15);
$follower->settle(0.3);
delete $follower->{$_}{hung} for qw(completed streamed);
for my $what (qw(completed streamed)) {
    delete $follower->{$what}{$_} for grep { /^away/ } keys %{
        $follower->{$what} };
}
once('hung', $follower, @ids);
back('hung');

# Each kind of connection is killed, with tasks under way.

for my $kind (sort keys %kinds) {
    mark();
    $follower = undef;
    @ids = map { "killed-$kind-$_" =~ s/\W/-/gr } 1 .. 20;
    post(gauge => new_task($_, { us => 50000 })) for @ids;
    wait_for { clients($kind) == 2 } 5, "two connections: $kind";
    my @killed = map { $_->{id} } clients($kind);
    $redis->redis->client_kill('ID', $_) for @killed;
    wait_for { my @now = clients($kind);
        @now == 2 && !grep { my $id = $_->{id}; grep { $id == $_ } @killed }
        @now } 5, "two new connections: $kind";
    wait_for { 20 == grep { http_get($nginx->url("/gauge/tasks/$_"))
        ->{content} =~ /"status":"completed"/ } @ids } 10, 'tasks to complete';
    like(logged(), qr/\[error\] .*\(\Q$kind\E\): .*connecting again in/,
        "$kind killed: the log says so");
    not_flooded("$kind killed");
    back("$kind killed");
}

# The commands' connections are killed again and again under load.

$follower = follower();
@ids = map { "storm-$_" } 1 .. 300;
gauges(2000, @ids);

for (1 .. 10) {
    $redis->redis->client_kill('ID', $_->{id}) for clients('commands');
    sleep 0.05;
}

once('killed under load', $follower, @ids);
back('killed under load');

# Scripts are forgotten.

mark();
$redis->redis->script('FLUSH');
is(post(echo => new_task('flushed', { arg1 => 'x' }))->{status}, 200,
    'scripts flushed: the first POST is accepted');
back('scripts flushed');
like(logged(), qr/\[warn\] .*has forgotten the scripts, loading them again/,
    'scripts flushed: the log says so');

# The consumer group is destroyed, while tasks are queued and run.

$follower = follower();
@ids = map { "group-$_" } 1 .. 8;
gauges(1_000_000, @ids);
running(4);
is($redis->redis->xgroup('DESTROY', '{llama_deploy.gauge}:queue', 'workers'),
    1, 'the group is destroyed');
$redis->redis->xgroup('DESTROY', '{llama_deploy.echo}:queue', 'workers');
once('group destroyed', $follower, @ids);
back('group destroyed');

# Everything is gone, while a task runs: it is discarded.

mark();
$follower = follower();
gauges(1_000_000, map { "gone-$_" } 1 .. 4);
running(4);
$redis->redis->flushall;
wait_for { (() = logged() =~ /task "gone-\d" is not this worker's any more/g)
    == 4 } 5, 'tasks to be given up';
$follower->settle(0.2);
is($follower->{count}, 0, 'all flushed: no result of a task that is gone');
post(gauge => new_task('slots', { us => 0 }));
once('all flushed: slots are free', $follower, 'slots');
back('all flushed');

# A replica does not take writes.

mark();
$redis->redis->replicaof('127.0.0.1', 1);
unavailable('read only');
sleep 2;
like(logged(), qr/\[error\] .*READONLY/, 'read only: the log says so');
not_flooded('read only');
$redis->redis->replicaof('NO', 'ONE');
back('read only');

# Redis loads its data, which takes a second and a half.

mark();
$redis->redis->set("filler-$_", 'x' x 100) for 1 .. 300;
$redis->redis->save;
my $delay = int(1.5e6 / $redis->redis->dbsize);
$redis->stop;
$redis->start(wait => 0, conf => "key-load-delay $delay\n"
    . "loading-process-events-interval-bytes 1024\n");
wait_for { logged() =~ /LOADING/ } 5, 'Redis to load';
unavailable('loading');
not_flooded('loading');
$redis->answers;
$redis->redis->config_set('key-load-delay', 0);
back('loading');

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

# The password is wrong, then right, then wrong again.

$redis->redis->config_set('requirepass', 'other');
delete $redis->{client};
$redis->{auth} = ['other'];

$nginx = Workflow::Nginx->new(http => conf('password Secr3t;'),
    locations => $locations);
wait_for { (@workers = $nginx->workers) == 2 } 5, 'two workers';
mark();
unavailable('wrong password');
sleep 1;
like(logged(), qr/\[error\] .*\(commands\): refused: WRONGPASS/,
    'wrong password: the log says so');
not_flooded('wrong password');
$redis->redis->config_set('requirepass', 'Secr3t');
$redis->{auth} = ['Secr3t'];
back('right password');

mark();
$redis->redis->config_set('requirepass', 'other');
$redis->{auth} = ['other'];
$redis->redis->client_kill('TYPE', $_) for qw(normal pubsub);
delete $redis->{client};
unavailable('changed password');
$redis->redis->config_set('requirepass', 'Secr3t');
$redis->{auth} = ['Secr3t'];
back('password changed back');
unlike($nginx->log, qr/Secr3t/, 'no password in the log');

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

# nginx ends also while Redis is away, hung, or refuses.

for my $case (['away', sub { $redis->stop }],
    ['hung', sub { $redis->{auth} = undef; $redis->start;
        wait_for { $redis->redis->ping } 5;
        $redis->signal('STOP') }])
{
    my ($name, $do) = @$case;
    $do->();
    $nginx->start;
    unavailable("$name at the end");
    $start = time;
    is($nginx->stop, 0, "$name: nginx ends");
    cmp_ok(time - $start, '<', 2, "$name: at once");
}

$nginx->log_ok;

done_testing;
