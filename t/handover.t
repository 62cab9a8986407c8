# Pub/Sub is listened to without a gap: what is published during reloads and an
# upgrade, and while workers are killed, is taken, and once.  Connecting takes
# new workers 300 ms, for which the old ones have to go on listening.

use strict;
use warnings;

use Test::More;
use Workflow;
use Workflow::Proxy;

my $redis = Workflow::Redis->new;
my $proxy = Workflow::Proxy->new($redis->port);
my $nginx = Workflow::Nginx->new(daemon => 1, http => <<"HTTP", locations => <<'LOCATIONS');
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $proxy->url ]}; }
workflow_service echo { workflow echo; queue tasks; }
HTTP
location / { workflow_pass echo; }
LOCATIONS

sub subscribers {
    my %count = $redis->redis->pubsub('NUMSUB', 'llama_deploy.echo');
    return $count{'llama_deploy.echo'};
}

wait_for { subscribers() == 2 } 10, 'two subscribers';

my $inbox = $redis->inbox('llama_deploy.control_plane');
my $n = 0;

# Publish until a condition holds, a message every millisecond or so.

sub publish_until(&) {
    my ($done) = @_;
    my $end = time + 20;
    until ($done->()) {
        die "not in time\n" if time > $end;
        $redis->redis->publish('llama_deploy.echo',
            new_task('t' . $n++, { arg1 => 'x' }));
        select undef, undef, undef, 0.001;
    }
}

# What has come is recorded: a worker that is killed has no message for itself.

my %results;

sub all_complete {
    wait_for {
        $results{ $_->{data}{task_id} }++ for grep { $_->{action} eq
            'completed_task' } map { from_json($_->[1]) } $inbox->drain(0.05);
        keys %results == $n;
    } 10, "$n results";
}

$proxy->delay_new(300);

for my $round (1 .. 3) {
    my %old = map { $_ => 1 } $nginx->workers;
    $nginx->signal('HUP');
    publish_until {
        my @pids = $nginx->workers;
        @pids == 2 && !grep { $old{$_} } @pids;
    };
}

ok(eval { all_complete(); 1 }, 'three reloads lose nothing') or diag $@;

# the old master is told to leave as soon as the new one has workers

my $old = $nginx->pid;
$nginx->signal('USR2');
publish_until {
    my $pid = $nginx->pid_file;
    $nginx->{pid} = $pid if $pid && $pid != $old
        && -e $nginx->dir . '/nginx.pid.oldbin';
    $nginx->pid != $old && $nginx->workers == 2;
};
kill 'QUIT', $old;
publish_until { waitpid($old, 1) == $old };
ok(eval { all_complete(); 1 }, 'an upgrade loses nothing') or diag $@;

for my $round (1 .. 2) {
    eval { all_complete() };
    wait_for { subscribers() == 2 } 10, 'two subscribers';
    my ($pid) = $nginx->workers;
    kill 'KILL', $pid;
    publish_until {
        my @pids = $nginx->workers;
        @pids == 2 && !grep { $_ == $pid } @pids;
    };
}

ok(eval { all_complete(); 1 }, 'two kills lose nothing') or diag $@;
$results{ from_json($_->[1])->{data}{task_id} }++ for grep {
    $_->[1] =~ /completed_task/ } $inbox->drain(0.2);

is(scalar(keys %results), $n, "$n published, $n completed");
is(scalar(grep { $_ != 1 } values %results), 0, 'each once');

is($nginx->stop, 0, 'nginx ends');
ok(!$nginx->alarms(qr/exited on signal 9/), 'no alarms')
    or diag $nginx->alarms;

done_testing;
