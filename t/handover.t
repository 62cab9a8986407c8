# Pub/Sub is listened to without a gap: what is published during reloads, and
# while workers are killed, is taken, and once.

use strict;
use warnings;

use Test::More;
use Workflow;

my $redis = Workflow::Redis->new;
my $nginx = Workflow::Nginx->new(http => <<"HTTP", locations => <<'LOCATIONS');
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
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

for my $round (1 .. 5) {
    my %old = map { $_ => 1 } $nginx->workers;
    $nginx->signal('HUP');
    publish_until {
        my @pids = $nginx->workers;
        @pids == 2 && !grep { $old{$_} } @pids;
    };
}

for my $round (1 .. 3) {
    wait_for { subscribers() == 2 } 10, 'two subscribers';
    my ($pid) = $nginx->workers;
    kill 'KILL', $pid;
    publish_until {
        my @pids = $nginx->workers;
        @pids == 2 && !grep { $_ == $pid } @pids;
    };
}

my %results;

wait_for {
    $results{ $_->{data}{task_id} }++ for grep { $_->{action} eq
        'completed_task' } map { from_json($_->[1]) } $inbox->drain(0.05);
    keys %results == $n;
} 20, "$n results";

is(scalar(keys %results), $n, "$n published, $n completed");
is(scalar(grep { $_ != 1 } values %results), 0, 'each once');

is($nginx->stop, 0, 'nginx ends');
ok(!$nginx->alarms(qr/exited on signal 9/), 'no alarms')
    or diag $nginx->alarms;

done_testing;
