# Tasks end by a transaction as long as nobody else has changed what the worker
# runs, and by a script otherwise: either way once, and nothing of them is left.

use strict;
use warnings;

use File::Temp ();
use Test::More;
use Workflow;
use Workflow::Connection;
use Workflow::Fault;
use Workflow::Plugin;
use Workflow::Proxy;
use Workflow::Published;
use Workflow::Record;

my $redis = Workflow::Redis->new(conf => "user nginx on nopass ~* &* +\@all\n");
my $r = $redis->redis;
my $proxy = Workflow::Proxy->new($redis->port);
my $epoch_key = '{llama_deploy.stairs}:epoch';
my $plugin = Workflow::Plugin->new('stairs');
my $steps = File::Temp->new(TEMPLATE => 'workflow-steps-XXXXXX', TMPDIR => 1);
my $file = $steps->filename;
chmod 0666, $file;

my $nginx = Workflow::Nginx->new(workers => 1, log_level => 'info',
    http => <<"HTTP", locations => <<'LOCATIONS');
workflow_load @{[ $plugin->path ]};
workflow_queue tasks { url @{[ $proxy->url ]}; username nginx; password any; }
workflow_service stairs { workflow stairs; queue tasks; checkpoint 20ms;
    lease 10m; }
workflow_service ladder { workflow stairs; queue tasks; }
HTTP
location / { workflow_pass stairs; }
location /ladder/ { workflow_pass ladder; }
LOCATIONS

$redis->subscribed(1, 'llama_deploy.stairs');
my $published = Workflow::Published->new($redis, 'llama_deploy.control_plane');

sub submit {
    my ($id, %input) = @_;
    my $session = delete $input{session};
    is(http_post($nginx->url('/process_message'), new_task($id, { events => 0,
        file => $file, %input }, session_id => $session))->{status}, 200,
        "$id: accepted");
}

# A step that runs until its time is up.

sub climb {
    my ($id, $ms) = @_;
    submit($id, ms => $ms);
    wait_for { slurp($file) =~ /^$id /m } 10, "$id to run";
}

sub slurp {
    open my $in, '<', $_[0] or die "$_[0]: $!";
    local $/;
    return <$in> // '';
}

sub calls {
    my ($command) = @_;
    return ($r->info('commandstats')->{"cmdstat_$command"} // '')
        =~ /calls=(\d+)/ ? $1 : 0;
}

# What is left when others run: its result has been published once, and nothing
# of it is there but that.

sub ends {
    my ($id, $status) = @_;
    my $prefix = '{llama_deploy.stairs}:';
    $status //= 'completed';
    is($published->outcome($id)->{status}, $status, "$id: ends");
    my $task = task_in($r, 'stairs', $id);
    is($task->{state}, $status, "$id: $status");
    is_deeply([$r->xrange("${prefix}queue", $task->{entry}, $task->{entry})],
        [], "$id: it is not in the queue");
    is($r->zscore("${prefix}leases", $id), undef, "$id: no lease");
    is($r->exists("${prefix}$_:$id"), 0, "$id: no $_") for qw(events saved);
    cmp_ok($r->ttl("${prefix}task:$id"), '>', 3500, "$id: result_ttl");
}

# How many transactions it takes.

sub transactions {
    my ($id, %input) = @_;
    my $before = calls('exec');
    submit($id, %input);
    ends($id);
    return calls('exec') - $before;
}

# Over a new connection.

sub connects {
    my ($what) = @_;
    my $id = "$what, connected";
    wait_for { http_post($nginx->url('/process_message'), new_task($id,
        { file => $file }))->{status} == 200 } 10, 'a connection';
    ends($id);
}

sub reconnect {
    my ($what) = @_;
    $r->client('KILL', 'USER', 'nginx');
    connects($what);
}

# The answer to what ends it is cut behind so many bytes.

sub cut {
    my ($id, $command, $bytes) = @_;
    $proxy->cut_at($command, $bytes);
    submit($id);
    ends($id);
    wait_for { $proxy->has_cut } 10, 'the answer to be cut';
    is(task_in($r, 'stairs', $id)->{claim}, 1,
        "$id: nobody had to take it over");
    $proxy->heal;
    connects($id);
}

# As another worker that takes a task over, or gives it an event, would.

sub begin_epoch {
    my ($seconds, $us) = $r->time;
    $r->set($epoch_key, "$seconds.$us");
}

# An empty one tells whether they are allowed.

wait_for { calls('exec') } 10, 'a connection';

# The end of the first one tells the epoch.  What is accepted alone is not looked at
# by the longer part of a script, either.

is(transactions('first'), 0, 'first: a script');
my $before = calls('mget');
is(transactions('alone'), 1, 'then: a transaction');
is(calls('mget'), $before, 'accepted alone: the short way');

sub take_over {
    my ($id) = @_;
    $r->zadd('{llama_deploy.stairs}:leases', 0, $id);
    return $r->evalsha(Workflow::Fault->sum('claim'), 5,
        (map { "{llama_deploy.stairs}:$_" } qw(queue bell timers leases epoch)),
        '{llama_deploy.stairs}:', 'other', 1, 0, 30000, 3, 1);
}

# From here on there is another one.

climb('blocker', 120_000);
is(transactions('plain'), 1, 'with others: a transaction');

my $task = task_in($r, 'stairs', 'plain');
is($task->{$_->[0]}, $_->[1], "its $_->[0]") for ['result', '"climbed 1"'],
    ['attempts', 1], ['claim', 1], ['streamed', 1];
is($r->xpending('{llama_deploy.stairs}:queue', 'workers')->[0], 1,
    'its entry is acknowledged');

# In milliseconds of Redis' clock, which the worker has seen before.

my ($seconds, $us) = $r->time;
my ($created) = $task->{created};
cmp_ok($task->{updated}, '>=', $created, 'not ended before it came');
cmp_ok($task->{updated}, '<=', $seconds * 1000 + $us / 1000 + 5, 'nor later');

# A task that has streamed before has another record than it was claimed with.

is(transactions('streams', ms => 500, events => 1), 0,
    'streamed before: none');

# For one that has more there is more to do.

is(transactions('saved', steps => 3, ms => 60), 0, 'a saved run: none');
is(transactions('session', session => 's'), 0, 'a session: none');

# An event that nobody takes goes with its task, though the worker had not known
# of it.

my $epoch = $r->get($epoch_key);
climb('given', 1000);
is(http_post($nginx->url('/process_message'),
    human_response('given', 'yes'))->{status}, 200, 'an event while it runs');
is($r->exists('{llama_deploy.stairs}:events:given'), 1, 'is kept');
isnt($r->get($epoch_key), $epoch, 'another epoch');
cmp_ok($r->ttl($epoch_key), '>', 24 * 3600, 'which goes away some day');
ends('given');

# In another epoch than that in which it was claimed: Redis refuses the
# transaction, and the script tells the new one.  What was claimed before that is
# not tried any more.

climb('before', 2000);
begin_epoch();
is(transactions('told'), 1, 'refused');
$before = calls('exec');
ends('before');
is(calls('exec'), $before, 'claimed in another epoch: none');
is(transactions('after'), 1, 'claimed in this one: one');

# One is watched from the one before it on.

sub unwatched {
    my ($id) = @_;
    begin_epoch();
    is(transactions($id), 1, "$id: refused");
}

my @looked = map { calls($_) } qw(eval watch);
is(transactions("watched $_"), 1, 'watched: a transaction') for 1 .. 3;
is(calls('eval'), $looked[0], 'nothing else looks at it');
is(calls('watch'), $looked[1] + 3, 'and is, for the next one');

# A transaction for another service, whose epoch is not yet known, ends that.

sub looks {
    my ($id, %input) = @_;
    my $before = calls('eval');
    is(transactions($id, %input), 1, "$id: a transaction");
    return calls('eval') - $before;
}

for (1 .. 3) {
    is(http_post($nginx->url('/ladder/process_message'), new_task("ladder $_",
        { events => 0, file => $file }))->{status}, 200, "ladder $_: accepted");
    is($published->outcome("ladder $_")->{status}, 'completed', 'it ends');
}

is(looks('other'), 1, 'another one was watched: looked at before it');
is(looks('again'), 0, 'not any more');

unwatched('not watched');
is(looks('guarded'), 1, 'another epoch: looked at before it');
is(looks('watched again'), 0, 'not any more');
reconnect('anew');
is(looks('connected'), 1, 'another connection: looked at before it');
is(looks('watched anew'), 0, 'not any more');

# Begun between the look at it and the transaction: the watch refuses that.

{
    my $other = $redis->client;
    my $look = sub { $other->eval(Workflow::Fault->script('guard'), 1,
        $epoch_key, $_[0]) };
    my $execute = sub { $other->multi; $other->set('there', 1);
        my @replies = eval { $other->exec }; return $r->del('there') };

    $epoch = $r->get($epoch_key);
    $other->watch($epoch_key);
    $look->($epoch);
    is($execute->(), 1, 'the same epoch');
    $other->watch($epoch_key);
    $look->('1.1');
    is($execute->(), 0, 'another one');
    is($r->get($epoch_key), $epoch, 'which stays');
    $other->watch($epoch_key);
    $look->($epoch);
    begin_epoch();
    is($execute->(), 0, 'begun behind the look');
    $r->del($epoch_key);
    $other->watch($epoch_key);
    $look->($epoch);
    is($execute->(), 0, 'none is there');
}

# A claim has failed, and what this worker has claimed is repeated: it might have
# given up what it is told of.  Neither that nor what it runs ends by one.

climb('beside a claim', 1500);
my $entries = $r->xpending('{llama_deploy.stairs}:queue', 'workers')->[0];
$r->acl('SETUSER', 'nginx', '-mset');
enqueue($r, 'stairs', 'repeated', to_json({ events => 0, file => $file }));
wait_for { $r->xpending('{llama_deploy.stairs}:queue', 'workers')->[0]
    > $entries } 10, 'it to be read';
$r->acl('SETUSER', 'nginx', '+mset');
$before = calls('exec');
ends('repeated');
ends('beside a claim');
is(calls('exec'), $before, 'claims are repeated: none');
is(transactions('behind them'), 1, 'after that: one');

# Another worker takes it over, by the script that does it: whoever had it
# before cannot end it any more.

submit('settled');
ends('settled');
climb('over', 1500);
$r->multi;
take_over('over');
my @replies = $r->exec;
is($replies[1][2][0], 'over', 'another worker takes it over');
$before = calls('exec');
wait_for { $nginx->log =~ /"over".* taken it over/ } 10, 'it to be noticed';
is(calls('exec'), $before + 1, 'the transaction was refused');
$task = task_in($r, 'stairs', 'over');
is($task->{$_->[0]}, $_->[1], "it is as it was: $_->[0]")
    for [state => 'running'], [worker => 'other'], [claim => 2];
$r->zadd('{llama_deploy.stairs}:leases', 0, 'over');
ends('over');
is(task_in($r, 'stairs', 'over')->{attempts}, 3, 'it is run again');

# The same where nothing tells of it, as the server has forgotten that this worker
# had it: what was claimed over another connection is not trusted.

climb('restored', 1500);
my $key = '{llama_deploy.stairs}:task:restored';
$r->set($key, $r->get($key) =~ s/^(running \S+) \S+ 1 /$1 other 2 /r);
reconnect('restored');
wait_for { $nginx->log =~ /"restored".* taken it over/ } 10, 'it to be noticed';
is(task_in($r, 'stairs', 'restored')->{worker}, 'other', 'it is as it was');
$r->zadd('{llama_deploy.stairs}:leases', 0, 'restored');
ends('restored');

# What has gone with everything else is not written again.

climb('flushed', 1500);
$r->flushall;
wait_for { $nginx->log =~ /"flushed".* taken it over/ } 10, 'it to be noticed';
is($r->exists('{llama_deploy.stairs}:task:flushed'), 0, 'it is not written');
climb('another blocker', 120_000);

# What is no epoch is replaced.

sub again {
    my ($what) = @_;
    submit("$what, once");
    ends("$what, once");
    is(transactions("$what, again"), 1, "$what: again");
}

for my $case (['nothing', sub { }], ['empty', sub { $r->set($_[0], '') }],
    ['a string', sub { $r->set($_[0], 'x' x 100) }],
    ['a list', sub { $r->rpush($_[0], 'x') }])
{
    my ($what, $make) = @$case;
    $r->del($epoch_key);
    $make->($epoch_key);
    again($what);
    like($r->get($epoch_key), qr/^\d+\.\d+$/, "$what: it is one again");
}

$r->del($epoch_key);
$r->rpush($epoch_key, 'x');
climb('given, too', 1000);
is(http_post($nginx->url('/process_message'),
    human_response('given, too', 'yes'))->{status}, 200, 'an event');
ends('given, too');
like($r->get($epoch_key), qr/^\d+\.\d+$/, 'it is one again');

# A full Redis refuses it, but not the script; nor does one of its commands that
# fails keep a task from ending.

sub config_set { $r->config('SET', @_) eq 'OK' or die "CONFIG SET @_" }

climb('full', 1500);
config_set('maxmemory', 1);
$before = calls('exec');
ends('full');
is(calls('exec'), $before + 1, 'full: it was refused');
config_set('maxmemory', 0);
again('full');

climb('odd', 1500);
$r->set('{llama_deploy.stairs}:timers', 'x');
$before = calls('exec');
ends('odd');
is(calls('exec'), $before + 1, 'odd: it was executed');
$r->del('{llama_deploy.stairs}:timers');
again('odd');

# The answer is lost, and it may yet come: it would be refused.

for my $bytes (0, 3) {
    my $id = "cut behind $bytes bytes";
    $epoch = $r->get($epoch_key);
    cut($id, 'EXEC', $bytes);
    isnt($r->get($epoch_key), $epoch, "$id: another epoch");
}

# Answers are out of step, as when hiredis has forgotten who waits for one: no
# answer is believed, and what was done is not done again.

for my $case (['a status', "+QUEUED\r\n", "+QUEUED\r\n" x 2],
    ['an integer', "*8\r\n", ":1\r\n*8\r\n"],
    ['a longer array', "*8\r\n", "*9\r\n:1\r\n"],
    ['a shorter one', "*8\r\n", "*2\r\n:1\r\n:1\r\n*8\r\n"])
{
    my ($what, @change) = @$case;
    my $dropped = () = $nginx->log =~ /an answer to another command/g;
    $epoch = $r->get($epoch_key);
    $proxy->change(@change);
    submit($what);
    ends($what);
    ok($proxy->has_changed, "$what: instead of the answer");
    wait_for { $dropped < (() = $nginx->log
        =~ /an answer to another command/g) } 10, 'the connection to be dropped';
    is(task_in($r, 'stairs', $what)->{claim}, 1,
        "$what: nobody had to take it over");
    connects($what);
    isnt($r->get($epoch_key), $epoch, "$what: another epoch");
}

# Transactions that are not allowed: over a new connection, and over one where
# they were.

sub refused {
    my ($command) = @_;
    return scalar(() = $nginx->log =~ /no transactions.*NOPERM.*'$command'/g);
}

for my $command (qw(watch eval multi exec)) {
    unwatched('guarded again') if $command eq 'eval';
    $r->acl('SETUSER', 'nginx', "-$command");
    my $before = refused($command);
    submit("no more $command");
    ends("no more $command");
    wait_for { refused($command) > $before } 10, "$command to be refused";
    is(transactions("none without $command"), 0, "$command: none any more");

    $before = refused($command);
    reconnect("no $command");
    wait_for { refused($command) > $before } 10, "$command to be refused";
    is(transactions("no $command"), 0, "$command: none");

    $r->acl('SETUSER', 'nginx', "+$command");
    reconnect("+$command");
    again("+$command");
}

is(HTTP::Tiny->new->delete($nginx->url("/tasks/another%20blocker"))->{status},
    202, 'the blocker is cancelled');
ends('another blocker', 'cancelled');
is($r->exists(map { "{llama_deploy.stairs}:$_" } qw(leases timers)), 0,
    'nothing is left');
is($r->xlen('{llama_deploy.stairs}:queue'), 0, 'in the queue, too');
$published->of('flushed');
is_deeply([$published->faults(sub { 'llama_deploy.control_plane' }, 'blocker')],
    ['flushed has ended 0 times'], 'each but the one has ended once');
is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

done_testing;
