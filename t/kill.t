# kill -9 of workers with a task in each of its states: every task ends, once,
# and no finished step is repeated that was saved.

use strict;
use warnings;

use POSIX ();
use Test::More;
use Workflow;
use Workflow::Fault;

my $killed = qr/exited on signal 9/;
my $t = Workflow::Fault->new(proxy => 1, service => <<'SERVICE');
max_concurrent_tasks 2; checkpoint 10ms; retry_delay 1500ms; max_attempts 3;
SERVICE

# Until the master has put others in their place.

sub kill_workers {
    my (@pids) = @_;
    kill 'KILL', @pids;
    wait_for {
        my @now = $t->nginx->workers;
        @now == 2 && !grep { my $pid = $_; grep { $_ == $pid } @pids } @now;
    } 10, 'new workers';
}

# in the first step, and behind it in the queue

my @first = map { $t->accept("first-$_", ms => 1500) } 1 .. 4;
$t->is_in('running', @first);
my @queued = map { $t->accept("queued-$_", ms => 10) } 1 .. 4;
$t->is_in('queued', @queued);
$t->reaches($_, '1/1') for @first;
my $pid = $t->pid_of('first-1');
my @its = grep { $t->pid_of($_) == $pid } @first;
kill_workers($pid);
$t->once_ok('one of two workers, with tasks queued and running', @first,
    @queued);
is_deeply([map { $t->steps($_) } @queued], [('1/1') x 4],
    'queued tasks have run once');
is_deeply([map { $t->steps($_) } @its], [('1/1', '1/2') x @its],
    'those of the killed one twice');
is(scalar(map { $t->steps($_) } @first), 4 + @its, 'the others once');

# between steps

my $id = $t->accept('between', steps => 4, ms => 400, events => 2);
$t->reaches($id, '3/1');
kill_workers($t->pid_of($id));
$t->once_ok('in the third of four steps', $id);
is_deeply([$t->steps($id)], ['1/1', '2/1', '3/1', '3/2', '4/2'],
    'goes on with the third');

# while its result is on its way, and gets there

$id = $t->accept('sent', ms => 200);
$t->reaches($id, '1/1');
$pid = $t->pid_of($id);
$t->redis->signal('STOP');
select undef, undef, undef, 0.5;        # the run ends; nobody can tell
kill 'KILL', $pid;
$t->redis->signal('CONT');
$t->once_ok('its result is sent', $id);
is_deeply([$t->steps($id)], ['1/1'], 'and is the result');

# the same, and it is lost

$id = $t->accept('unsent', ms => 200);
$t->reaches($id, '1/1');
$pid = $t->pid_of($id);
$t->proxy->hold;
select undef, undef, undef, 0.5;
kill 'KILL', $pid;
$t->proxy->drop;
$t->once_ok('its result is not sent', $id);
is_deeply([$t->steps($id)], ['1/1', '1/2'], 'it is run again');

# waiting

wait_for { $t->nginx->workers == 2 } 10, 'workers';
my @waiting = map { $t->accept("waiting-$_", ask => 1) } 1 .. 4;
$t->is_in('waiting', @waiting);
kill_workers($t->nginx->workers);
$t->respond(@waiting);
$t->once_ok('all, with tasks that wait', @waiting);
is_deeply([map { $t->steps($_) } @waiting], [('1/1') x 4],
    'goes on where it waited');
is($t->field($_, 'attempts'), 1, "$_: no attempt is lost") for @waiting;

# waiting for its next attempt

my @retried = map { $t->accept("retried-$_", fail => 1) } 1 .. 4;
$t->is_in('queued', @retried);
wait_for { $t->client->zcard('{llama_deploy.stairs}:timers') == 4 } 5,
    'retries to wait';
kill_workers($t->nginx->workers);
$t->once_ok('all, with tasks that wait for another attempt', @retried);
is_deeply([map { $t->steps($_) } @retried], [('1/1', '1/2') x 4],
    'one more attempt, not two');

# all at once, with everything

my @all = map { $t->accept("all-$_", steps => 3, ms => 100, events => 3,
    fail => $_ % 3 ? 0 : 1) } 1 .. 12;
$t->reaches($all[0], '2/1');
kill_workers($t->nginx->workers);
$t->once_ok('all, with tasks queued and running', @all);

# the master, too; then there is another nginx

my @both = map { $t->accept("both-$_", steps => 2, ms => 300) } 1 .. 6;
$t->reaches($both[0], '1/1');

sub bury {
    my ($nginx) = @_;
    my %prctl = (x86_64 => 157, aarch64 => 167);
    my @pids = $nginx->workers;

    # its children become ours: nobody else might wait for them
    syscall($prctl{(POSIX::uname())[4]}, 36, 1, 0, 0, 0) == 0
        or die "prctl: $!";
    kill 'KILL', $nginx->pid;
    waitpid $nginx->pid, 0;
    kill 'KILL', @pids;
    waitpid $_, 0 for @pids;
    $nginx->{pid} = 0;
}

my $old = $t->nginx;
bury($old);
$old->log_ok($killed);
wait_for { $t->subscribers == 0 } 10, 'connections to be closed';
my $begin = time;
$t->{nginx} = $t->new_nginx;
$t->once_ok('master and workers', @both);
cmp_ok(time - $begin, '<', 10, 'long before a lease ends');

is($t->client->xlen('{llama_deploy.stairs}:queue'), 0, 'the queue is empty');
is($t->client->zcard("{llama_deploy.stairs}:$_"), 0, "no $_")
    for qw(timers leases);
is($t->client->xlen('{llama_deploy.stairs}:dead'), 0, 'no dead letters');

$t->end_ok($killed);

done_testing;
