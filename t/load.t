# Ten thousand tasks by Pub/Sub and ten thousand by HTTP, on two nginx with two
# workers each on one Redis: each is completed once, and no worker runs more at
# a time than max_concurrent_tasks allows, whatever its thread pools could.

use strict;
use warnings;

use Test::More;
use Workflow;
use Workflow::Load;
use Workflow::Plugin;

use constant { TASKS => 10000, CAP => 4, SECOND_CAP => 2 };

my $probe = Workflow::Plugin->new('probe');

# the follower reads in turns with the sending

my $redis = Workflow::Redis->new(
    conf => "client-output-buffer-limit pubsub 0 0 0\n");

my @nginx = map { Workflow::Nginx->new(pool => <<'POOL',
thread_pool workflow threads=16 max_queue=65536;
thread_pool one threads=1 max_queue=65536;
thread_pool three threads=3 max_queue=65536;
POOL
    http => <<"HTTP",
keepalive_requests 1000000;
workflow_load @{[ $probe->path ]};
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/progress.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service echo { workflow echo; queue tasks; thread_pool three;
    max_concurrent_tasks 64; }
workflow_service progress { workflow progress; queue tasks; thread_pool one;
    max_concurrent_tasks 32; }
workflow_service gauge { workflow gauge; queue tasks;
    max_concurrent_tasks @{[ CAP ]}; }
workflow_service gauge2 { workflow gauge2; queue tasks;
    max_concurrent_tasks @{[ SECOND_CAP ]}; }
HTTP
    locations => join '', map { "location /$_/ { workflow_pass $_; }\n" }
        qw(echo progress gauge gauge2)) } 1 .. 2;

$redis->subscribed(4, map { "llama_deploy.$_" }
    qw(echo progress gauge gauge2));

sub follower {
    return Workflow::Load::Follower->new($redis->port,
        'llama_deploy.control_plane');
}

# Every task completed once, its events streamed once and in order.

sub once {
    my ($name, $follower, $events, @ids) = @_;
    my ($completed, $streamed) = ($follower->completed, $follower->streamed);
    my $indexes = join ' ', 0 .. $events - 1;

    $follower->follow(scalar @ids, 40);
    $follower->settle(0.3);

    is(scalar(grep { $completed->{$_} } @ids), @ids, "$name: all completed");
    is($follower->{count}, @ids, "$name: each once");
    is(scalar(grep { "@{ $streamed->{$_} // [] }" ne $indexes } @ids), 0,
        "$name: streamed in order, once");
}

# By Pub/Sub: each message comes to all four workers.

my $follower = follower();
my @ids = map { "published-$_" } 1 .. TASKS;
Workflow::Load::publish($redis->port, 'llama_deploy.echo',
    [map { new_task($_, { arg1 => $_ }) } @ids], 40);
once('Pub/Sub', $follower, 1, @ids);
is(scalar(grep { $follower->results->{$_} ne "${_}_result" } @ids), 0,
    'Pub/Sub: each has its own result');

# By HTTP: half to each nginx, then everything once more, as known tasks.

$follower = follower();
@ids = map { "posted-$_" } 1 .. TASKS;
my @bodies = map { new_task($_, { arg1 => $_ }) } @ids;

for my $i (0, 1) {
    is_deeply(Workflow::Load::post($nginx[$i]->port, '/echo/process_message',
        [@bodies[$i * TASKS / 2 .. ($i + 1) * TASKS / 2 - 1]], 40),
        { 200 => TASKS / 2 }, 'HTTP: accepted');
}

once('HTTP', $follower, 1, @ids);
is(scalar(grep { $follower->results->{$_} ne "${_}_result" } @ids), 0,
    'HTTP: each has its own result');

$follower = follower();
is_deeply(Workflow::Load::post($nginx[0]->port, '/echo/process_message',
    [@bodies[0 .. 999]], 40), { 200 => 1000 }, 'HTTP: known tasks');
$follower->settle(0.3);
is($follower->{count}, 0, 'HTTP: are not run again');

# Three steps each on a pool of one thread.

$follower = follower();
@ids = map { "streamed-$_" } 1 .. TASKS / 10;
Workflow::Load::publish($redis->port, 'llama_deploy.progress',
    [map { new_task($_, { arg1 => $_ }) } @ids], 40);
once('streams', $follower, 4, @ids);

# The cap: 16 threads could run more.  Both services at once; all four workers
# have their share.

$follower = follower();
my %ids = map { my $service = $_;
    ($service => [map { "$service-$_" } 1 .. TASKS / 10]) } qw(gauge gauge2);

for my $service (sort keys %ids) {
    Workflow::Load::publish($redis->port, "llama_deploy.$service",
        [map { new_task($_, { us => 500 }) } @{ $ids{$service} }], 40);
}

once('the cap', $follower, 1, map { @$_ } values %ids);

for my $case ([gauge => CAP], [gauge2 => SECOND_CAP]) {
    my ($service, $cap) = @$case;
    my %max;

    for my $id (@{ $ids{$service} }) {
        my $text = $follower->results->{$id};
        $text =~ s/\\"/"/g;
        my $result = from_json($text);
        $max{$result->{pid}} = $result->{max}
            if $result->{max} > ($max{$result->{pid}} // 0);
    }

    is(scalar(keys %max), 4, "$service: four workers have run tasks");
    is_deeply([grep { $_ > $cap } values %max], [],
        "$service: none has run more at a time than its cap");
    is_deeply([grep { $_ < 2 } values %max], [],
        "$service: all have run several at a time");
}

# Nothing is left, neither in the queue nor among what workers have claimed.

for my $service (qw(echo progress gauge gauge2)) {
    is($redis->redis->xlen("{llama_deploy.$service}:queue"), 0,
        "$service: the stream is empty");
}

for (@nginx) {
    my $url = $_->url('/echo/');
    ok(eval { wait_for { from_json(http_get($url)->{content})
        ->{num_outstanding_calls} eq '0' } 5 }, 'nothing is outstanding');
    is($_->stop, 0, 'nginx ends');
    $_->log_ok;
}

done_testing;
