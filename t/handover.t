# Pub/Sub is listened to without a gap: what is published during reloads and an
# upgrade, and while workers are killed, is taken, and once; and the control
# plane lists the service all the time.  Connecting takes new workers 300 ms,
# for which the old ones have to go on listening.

use strict;
use warnings;

use File::Temp;
use Test::More;
use Workflow;
use Workflow::ControlPlane;
use Workflow::Plugin;
use Workflow::Proxy;

my $redis = Workflow::Redis->new;
my $proxy = Workflow::Proxy->new($redis->port);
my $cp = Workflow::ControlPlane->new;

# More lines of http{}, or a control plane that is none.

sub conf {
    my ($more, $url) = @_;
    $url //= $cp->url;
    return <<"HTTP";
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $proxy->url ]}; topic_namespace llama_deploy; }
workflow_service echo { workflow echo; queue tasks; control_plane $url; }
$more
HTTP
}

my $nginx = Workflow::Nginx->new(daemon => 1, http => conf(''),
    locations => 'location / { workflow_pass echo; }');

sub withdrawn { return scalar $cp->requests(qr/deregister/) }

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

sub reload {
    my %old = map { $_ => 1 } $nginx->workers;
    $nginx->signal('HUP');
    publish_until {
        my @pids = $nginx->workers;
        @pids == 2 && !grep { $old{$_} } @pids;
    };
}

reload() for 1 .. 3;
ok(eval { all_complete(); 1 }, 'three reloads lose nothing') or diag $@;

# the zone is replaced by one of another size, and nothing is known of the old
# workers any more

for my $http (conf('workflow_zone 256k;'), conf('')) {
    $nginx->write(http => $http);
    reload();
}

ok(eval { all_complete(); 1 }, 'another zone loses nothing') or diag $@;

# the old workers are told to leave before the new ones have begun to connect

my $dir = File::Temp->newdir('workflow-slow-XXXXXX', TMPDIR => 1);
chmod 0755, $dir;
my $slow = Workflow::Plugin->compile("$dir/slow.so", <<'SOURCE');
#include <time.h>
#include "workflow.h"

__attribute__((constructor)) static void
begin(void)
{
    struct timespec  t = { 0, 400000000 };

    nanosleep(&t, NULL);
}

static wf_status_t
end(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;
    return wf_stop(run, "null", 4);
}

static const wf_step_t  steps[] = {
    { .name = "end", .accepts = WF_TYPES(WF_START_EVENT),
      .produces = WF_TYPES(WF_STOP_EVENT), .run = end },
};

WF_PLUGIN(WF_WORKFLOW("slow", "Takes long to begin.", steps));
SOURCE

for my $http (conf("workflow_load $slow;"),
    conf("workflow_load $slow;\nworkflow_zone 256k;"), conf(''))
{
    $nginx->write(http => $http);
    reload();
}

ok(eval { all_complete(); 1 }, 'workers that begin late lose nothing')
    or diag $@;
is(withdrawn(), 0, 'the service was always listed');

# another control plane and another zone: the first one lists it no more

my $other = Workflow::ControlPlane->new;

$nginx->write(http => conf('workflow_zone 256k;', $other->url));
reload();
is(withdrawn(), 1, 'another control plane and another zone: withdrawn');
wait_for { $other->services->{echo} } 10, 'the other one to list it';
$nginx->write(http => conf(''));
reload();
is(scalar($other->requests(qr/deregister/)), 1, 'and back');
wait_for { $cp->services->{echo} } 10, 'the first one to list it';
$cp->forget;

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

is(withdrawn(), 0, 'the service was always listed');
is($nginx->stop, 0, 'nginx ends');
is(withdrawn(), 1, 'and then withdrawn');
ok(!$nginx->alarms(qr/exited on signal 9/), 'no alarms')
    or diag $nginx->alarms;

done_testing;
