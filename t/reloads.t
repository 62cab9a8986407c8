# nginx is reloaded, upgraded and told to quit under load: every task ends once,
# what is published meanwhile is taken, and nothing alarming is logged.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::Fault;

my $t = Workflow::Fault->new(nginx => 0);
$t->{service} = 'max_concurrent_tasks 4; checkpoint 20ms; drain_timeout 300ms;'
    . ' retry_delay 100ms;';

my $n = 0;
my @ids;

# Tasks by HTTP and by Pub/Sub, until a condition holds.

sub load_until(&) {
    my ($done) = @_;
    my $end = time + 20;

    until ($done->()) {
        die "not in time\n" if time > $end;
        my %input = (steps => 1 + $n % 3, events => $n % 3, ms => 20 * ($n % 4),
            fail => $n % 9 ? 0 : 1);
        my $id = 'task-' . ++$n;

        if ($n % 2) {
            $t->publish($id, %input);

        } else {
            wait_for { $t->submit($id, %input) == 200 } 5, 'a POST';
        }

        push @ids, $id;
        sleep 0.003;
    }
}

$t->{nginx} = $t->new_nginx(daemon => 1);
my $nginx = $t->nginx;

# ten reloads, each as soon as the workers of the last one are there

for (1 .. 10) {
    my %old = map { $_ => 1 } $nginx->workers;
    my $enough = time + 0.2;
    $nginx->signal('HUP');
    load_until { time > $enough && 2 == grep { !$old{$_} } $nginx->workers };
}

$t->once_ok('ten reloads', @ids);
wait_for { $nginx->workers == 2 } 10, 'old workers to end';

# more attempts than one are only those that were to fail, and nothing is
# repeated when it was handed over

my @more = grep { $t->field($_, 'attempts') != 1 + $t->{inputs}{$_}{fail} }
    @ids;
is_deeply(\@more, [], 'no attempt is lost by a reload');

# binary upgrades

@ids = ();

for (1 .. 2) {
    my $old = $nginx->pid;
    my %old = map { $_ => 1 } $nginx->workers;
    my $new;
    $nginx->signal('USR2');
    load_until {
        $new = $nginx->pid_file;
        $new && $new != $old && -e $nginx->dir . '/nginx.pid.oldbin';
    };
    $nginx->{pid} = $new;
    load_until { $nginx->workers == 2 };
    kill 'QUIT', $old;
    load_until { waitpid($old, 1) == $old };
}

$t->once_ok('two upgrades', @ids);
@more = grep { $t->field($_, 'attempts') != 1 + $t->{inputs}{$_}{fail} } @ids;
is_deeply(\@more, [], 'no attempt is lost by an upgrade');

# QUIT, with tasks that end in time, that do not, and that nobody has begun

my @short = map { $t->accept("short-$_", ms => 250) } 1 .. 2;
my @long = map { $t->accept("long-$_", steps => 3, ms => 700, events => 2) }
    1 .. 6;
my @idle = map { $t->accept("idle-$_", ms => 10) } 1 .. 6;
$t->reaches($_, '1/1') for @short, @long;
is($nginx->stop, 0, 'QUIT with tasks that run');
is($t->field($_, 'state'), 'completed', "$_ has completed") for @short;
is($t->field($_, 'state'), 'running', "$_ is handed back") for @long;
is($t->field($_, 'state'), 'queued', "$_ is queued") for @idle;
is($t->client->zcount('{llama_deploy.stairs}:leases', 0, 0), 6,
    'their leases are ended');
$nginx->log_ok;

my $begin = time;
$t->{nginx} = $nginx = $t->new_nginx;
$t->once_ok('another nginx goes on with them', @short, @long, @idle);
is($t->field($_, 'attempts'), 1, "$_: no attempt is lost") for @long;
is_deeply([$t->steps($_)], ['1/1', '1/1', '2/1', '3/1'],
    "$_: the step that was under way is repeated") for @long;

$t->end_ok;

is($t->client->xlen('{llama_deploy.stairs}:queue'), 0, 'the queue is empty');
is($t->client->zcard("{llama_deploy.stairs}:leases"), 0, 'no leases are left');
is($t->client->exists('{llama_deploy.stairs}:dead'), 0, 'no dead letters');

done_testing;
