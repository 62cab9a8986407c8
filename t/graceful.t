# Reload, quit and terminate while tasks run: what runs is finished and
# published once, what is queued is left to others, nothing is lost.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::Connection;
use Workflow::Load;
use Workflow::Plugin;
use Workflow::Proxy;

my $probe = Workflow::Plugin->new('probe');
my $redis = Workflow::Redis->new;

my $nginx = Workflow::Nginx->new(http => <<"HTTP",
workflow_load @{[ $probe->path ]};
workflow_load \@PLUGINS\@/ask.so;
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service gauge { workflow gauge; queue tasks; max_concurrent_tasks 2;
    timeout 60s; }
workflow_service ask { workflow ask; queue tasks; }
workflow_service echo { workflow echo; queue tasks; step_interval 10s; }
HTTP
    locations => join '', map { "location /$_/ { workflow_pass $_; }\n" }
        qw(gauge ask echo));

my @services = map { "llama_deploy.$_" } qw(gauge ask echo);

$redis->subscribed(2, @services);

sub follower {
    return Workflow::Load::Follower->new($redis->port,
        'llama_deploy.control_plane');
}

sub submit {
    my ($service, @messages) = @_;
    my $status = Workflow::Load::post($nginx->port,
        "/$service/process_message", \@messages, 10);
    is_deeply($status, { 200 => scalar @messages }, "accepted by $service");
}

sub running {
    my ($count, @ids) = @_;
    wait_for { $count == grep { http_get($nginx->url("/gauge/tasks/$_"))
        ->{content} =~ /"status":"running"/ } @ids } 10, "$count to run";
}

sub alive { return grep { -e "/proc/$_" } @_ }

# The process that has run a task.

sub worker_of {
    my ($follower, $id) = @_;
    my ($pid) = $follower->results->{$id} =~ /\\"pid\\":(\d+)/;
    return $pid;
}

sub once {
    my ($name, $follower, @ids) = @_;
    is_deeply($follower->completed, { map { $_ => 1 } @ids },
        "$name: each completed once");
    is_deeply($follower->streamed, { map { $_ => [0] } @ids },
        "$name: each streamed once");
}

# HUP: eight tasks, of which four run.

my $follower = follower();
my @ids = map { "hup-$_" } 1 .. 8;
my @old = $nginx->workers;

submit(gauge => map { new_task($_, { us => 800000 }) } @ids);
running(4, @ids);
submit(ask => new_task('asked', {}));
wait_for { http_get($nginx->url('/ask/tasks/asked'))->{content}
    =~ /"status":"waiting"/ } 5, 'a run that waits';

$nginx->signal('HUP');
wait_for { (grep { my $pid = $_; !grep { $pid == $_ } @old } $nginx->workers)
    == 2 } 10, 'new workers';
is(scalar(alive(@old)), 2, 'HUP: the old workers still run their tasks');
$follower->follow(8, 20);
wait_for { !alive(@old) } 10, 'the old workers to leave';
$follower->settle(0.3);
delete $follower->{streamed}{asked};
once('HUP', $follower, @ids);

my %old = map { $_ => 1 } @old;
is(scalar(grep { $old{worker_of($follower, $_)} } @ids), 4,
    'HUP: what ran was finished where it ran');
is(scalar(grep { !$old{worker_of($follower, $_)} } @ids), 4,
    'HUP: what was queued was run by new workers');

# a run that waited across the reload goes on

$follower = follower();
submit(ask => human_response('asked', '42'));
$follower->follow(1, 10);
is($follower->results->{asked}, '42', 'HUP: a run that waited is answered');
is_deeply($follower->streamed->{asked}, [1], 'HUP: and its stream goes on');

# the new workers hear the bell

$redis->subscribed(2, @services);
$follower = follower();
my $start = time;
submit(echo => new_task('echo', { arg1 => 'x' }));
$follower->follow(1, 10);
cmp_ok(time - $start, '<', 1, 'HUP: a task does not wait for the timer');

# Three reloads while tasks come and go.

$follower = follower();
@ids = map { "busy-$_" } 1 .. 300;

for my $i (0 .. 2) {
    submit(gauge => map { new_task($_, { us => 5000 }) }
        @ids[$i * 100 .. $i * 100 + 99]);
    $nginx->reload;
}

$follower->follow(300, 20);
$follower->settle(0.3);
once('reloads', $follower, @ids);

# QUIT: what runs is finished; what is queued is run when nginx is back.

$follower = follower();
@ids = map { "quit-$_" } 1 .. 6;
@old = $nginx->workers;
submit(gauge => map { new_task($_, { us => 600000 }) } @ids);
running(4, @ids);
is($nginx->stop('QUIT', 10), 0, 'QUIT: nginx ends');
$follower->follow(4, 1);
$follower->settle(0.2);
is($follower->{count}, 4, 'QUIT: four were finished');
%old = map { $_ => 1 } @old;
is(scalar(grep { !$old{worker_of($follower, $_)} }
    keys %{ $follower->completed }), 0, 'QUIT: by those that ran them');
$nginx->log_ok;

$nginx->start;
$follower->follow(6, 10);
$follower->settle(0.3);
once('QUIT', $follower, @ids);

# QUIT when nothing runs is immediate.

$start = time;
is($nginx->stop('QUIT', 10), 0, 'QUIT: an idle nginx ends');
cmp_ok(time - $start, '<', 1, 'QUIT: at once');

# TERM does not wait for a task, nor does it publish anything for it.

$nginx->start;
$follower = follower();
submit(gauge => new_task('term', { us => 60000000 }));
running(1, 'term');
$start = time;
is($nginx->stop('TERM', 10), 0, 'TERM: nginx ends');
cmp_ok(time - $start, '<', 3, 'TERM: soon');
$follower->settle(0.2);
is($follower->{count}, 0, 'TERM: no result');
$nginx->log_ok;

# Redis answers when nothing else keeps the worker: it tells the client, still.

my $proxy = Workflow::Proxy->new($redis->port);
my $last = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $proxy->url ]}; topic_namespace last; }
workflow_service echo { workflow echo; queue tasks; step_interval 10s; }
HTTP
    locations => 'location / { workflow_pass echo; }');

$redis->subscribed(1, 'last.echo');

my $known = new_task('known', { arg1 => 'x' });
is(http_post($last->url('/process_message'), $known)->{status}, 200,
    'QUIT with a request: a task');
wait_for { http_get($last->url('/tasks/known'))->{content} =~ /completed/ } 10,
    'its end';

# by the answer to the second request the first has been read

my $connection = Workflow::Connection->new($last);
$proxy->hold;
$connection->send(Workflow::Connection::text('POST', '/process_message',
    $known, 'Content-Type' => 'application/json'));
is(http_get($last->url('/'))->{status}, 200, 'QUIT with a request: it is read');
kill 'QUIT', $last->{pid};
wait_for { $last->log =~ /gracefully shutting down/ } 10, 'nginx to leave';
$proxy->heal;
is(($connection->answer // {})->{status}, 200,
    'QUIT with a request: it is answered');
is($last->stop, 0, 'QUIT with a request: nginx ends');
$last->log_ok;

done_testing;
