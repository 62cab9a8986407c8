# Runs that wait for an event, on two nginx with one Redis: nobody answers, the
# answer comes at any moment, answers keep their order, thousands wait, and
# whoever waits, is queued, delayed or runs can be cancelled from anywhere.

use strict;
use warnings;

use File::Temp ();
use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::Fault;
use Workflow::Load;
use Workflow::Plugin;

# fewer where the sanitizers take their time for each

use constant SANITIZED => ($ENV{TEST_NGINX_BINARY} // '') =~ /\.sh$/;
use constant PARKED => SANITIZED ? 20000 : 100000;

my $probe = Workflow::Plugin->new('probe');
my $chat = Workflow::Plugin->new('chat');
my $stairs = Workflow::Plugin->new('stairs');
my $redis = Workflow::Redis->new;

# What depends on the bell is not found by a timer: it would take ten seconds.

my $http = <<"HTTP";
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/ask.so;
workflow_load \@PLUGINS\@/sleeper.so;
workflow_load \@PLUGINS\@/flaky.so;
workflow_load @{[ $probe->path ]};
workflow_load @{[ $chat->path ]};
workflow_load @{[ $stairs->path ]};
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service ask { workflow ask; queue tasks; step_interval 10s; }
workflow_service there { workflow ask; queue tasks; step_interval 10s;
    running off; }
workflow_service brief { workflow ask; queue tasks; wait_timeout 300ms; }
workflow_service patient { workflow twice; queue tasks; wait_timeout 1s; }
workflow_service chat { workflow chat; queue tasks; step_interval 10s; }
workflow_service hold { workflow ask; queue tasks; running off; event_ttl 1s; }
workflow_service later { workflow echo; queue tasks; running off; }
workflow_service sleeper { workflow sleeper; queue tasks; timeout 60s;
    step_interval 10s; }
workflow_service failing { workflow flaky; queue tasks; step_interval 10s;
    retry_delay 1h; retry_delay_max 1h; }
workflow_service climbing { workflow stairs; queue tasks; step_interval 10s;
    lease 10m; retry_delay 1h; retry_delay_max 1h; }
HTTP

my @services = qw(ask there brief patient chat hold later sleeper failing
    climbing);
my $locations = join '', map { "location /$_/ { workflow_pass $_; }\n" }
    @services;

# "there" is run by the second nginx alone

(my $runs = $http) =~ s/(step_interval 10s;)\s+running off;/$1/;

my @nginx = map { Workflow::Nginx->new(http => $_, locations => $locations) }
    $http, $runs;

$redis->subscribed(4, map { "llama_deploy.$_" } @services);

my $inbox = $redis->inbox('llama_deploy.control_plane');
my $n = 0;

sub post {
    my ($i, $service, $message) = @_;
    return http_post($nginx[$i]->url("/$service/process_message"), $message)
        ->{status};
}

sub task {
    my ($service, $id) = @_;
    my $r = http_get($nginx[0]->url("/$service/tasks/$id"));
    return $r->{status} == 200 ? from_json($r->{content}) : {};
}

sub state {
    my ($service, $id, $state) = @_;
    return wait_for {
        my $task = task($service, $id);
        ($task->{status} // '') eq $state && $task;
    } 10, "$id to be $state";
}

sub submit {
    my ($service, $input) = @_;
    my $id = "$service-" . ++$n;
    post(0, $service, new_task($id, $input)) == 200 or die "$id: refused";
    return $id;
}

sub waiting {
    my ($service, $input) = @_;
    my $id = submit($service, $input);
    state($service, $id, 'waiting');
    return $id;
}

# What a task has streamed, as [index, event], and its result.

sub outcome {
    my ($id, $seconds) = @_;
    my @messages = map { $_->{data} } $inbox->task($id, $seconds);
    my $result = (pop @messages)->{result};
    return ([map { [$_->{index}, $_->{data}] } @messages], $result);
}

my $question = [0, { prefix => 'Enter a number: ' }];
my $nothing = { result => undef };


# Nobody answers

my $late = 'The event that the task waits for has not come in time.';
my $begin = time;
my $id = submit('brief', {});
my ($streamed, $result) = outcome($id);
my $took = time - $begin;

is($result, $late, 'wait_timeout: the result says so');
is_deeply($streamed, [$question, [1, $nothing]], 'wait_timeout: the stream');
cmp_ok($took, '>=', 0.3, 'wait_timeout: not before');
cmp_ok($took, '<', 3, 'wait_timeout: soon');

my $failed = task('brief', $id);
is_deeply([@$failed{qw(status error result attempts)}],
    ['failed', $late, undef, 1], 'wait_timeout: the task');
is(post(1, 'brief', human_response($id, '1')), 409, 'an answer is too late');

# each question has its own time

$id = waiting('patient', {});
sleep 0.6;
is(post(0, 'patient', human_response($id, 'one')), 200, 'answered in time');
wait_for { task('patient', $id)->{stream_events} == 2 } 5, 'a second question';
sleep 0.6;
is(post(0, 'patient', human_response($id, 'two')), 200, 'and again');
(undef, $result) = outcome($id);
is($result, 'one, two', 'though both together took longer');


# The answer comes around the moment in which the run is parked.

srand 1;

my %sent;
my $followed = Workflow::Load::Follower->new($redis->port,
    'llama_deploy.control_plane');

for my $i (1 .. 200) {
    my $id = "race-$i";
    my $to = int rand 2;
    my $by_http = $i % 2;

    $by_http ? post(0, 'ask', new_task($id, {}))
        : $redis->redis->publish('llama_deploy.ask', new_task($id, {}));

    # HTTP::Tiny needs about half a millisecond for itself

    my $end = time + rand 0.003;
    1 while time < $end;

    my $answer = human_response($id, "a$i");
    $sent{$id} = $by_http ? post($to, 'ask', $answer)
        : 200 * !!$redis->redis->publish('llama_deploy.ask', $answer);
}

is_deeply([grep { $sent{$_} != 200 } sort keys %sent], [],
    'race: all were accepted');
ok(eval { $followed->follow(200, 20); 1 }, 'race: all are answered') || diag $@;
$followed->settle(0.2);
is_deeply($followed->completed, { map { ("race-$_" => 1) } 1 .. 200 },
    'race: each once');
is_deeply($followed->results, { map { ("race-$_" => "a$_") } 1 .. 200 },
    'race: each its own');
is_deeply([grep { $_ !~ /^0(?: 1)?$/ } map { "@$_" }
    values %{ $followed->streamed }], [], 'race: nothing is streamed twice');
$inbox->drain;


# Answers keep their order

my @said = map { "s$_" } 1 .. 40;

for my $case (
    ['Pub/Sub', sub { $redis->redis->publish('llama_deploy.chat', $_[0]) }],
    ['Pub/Sub, in one go', undef],
    ['HTTP, two nginx', sub { post($_[1] % 2, 'chat', $_[0]) }],
) {
    my ($name, $send) = @$case;
    my $id = waiting('chat', { n => scalar @said });
    my @messages = map { human_response($id, $_, id_ => "$id-$_") } @said;

    if ($send) {
        $send->($messages[$_], $_) for 0 .. $#messages;

    } else {
        Workflow::Load::publish($redis->port, 'llama_deploy.chat',
            \@messages, 10);
    }

    my ($streamed, $result) = outcome($id);
    is_deeply(from_json($result), \@said, "order: $name");
    is_deeply($streamed, [(map { [$_, { prefix => $_ }] } 0 .. $#said),
        [scalar @said, { result => \@said }]], "order: $name, the stream");
}


# The run goes on elsewhere, and at once.

my @seconds;

for (1 .. 9) {
    my $id = waiting('there', {});
    my $begin = time;
    post(0, 'there', human_response($id, '42')) == 200 or die;
    my ($streamed, $result) = outcome($id, 3);
    push @seconds, time - $begin;
    is($result, '42', 'elsewhere: answered');
}

# most of it is HTTP::Tiny's

@seconds = sort { $a <=> $b } @seconds;
cmp_ok($seconds[4], '<', 0.1, 'elsewhere: within milliseconds')
    || diag(join ' ', map { sprintf '%.1f', 1000 * $_ } @seconds);
cmp_ok($seconds[8], '<', 2, 'elsewhere: not by a timer');


# Events before the task: once it is known they are kept as long as it is.

$redis->redis->publish('llama_deploy.hold', human_response('held', '7'));
my $events = '{llama_deploy.hold}:events:held';
wait_for { $redis->redis->exists($events) } 5, 'the event to be kept';
my $ttl = $redis->redis->pttl($events);
ok($ttl > 0 && $ttl <= 1000, 'an event without a task: event_ttl');
is(post(0, 'hold', new_task('held', {})), 200, 'its task');
is($redis->redis->ttl($events), -1, 'an event of a task stays');


# DELETE: 202, and the task ends where it is.

sub cancel {
    my ($i, $service, $id) = @_;
    my $r = HTTP::Tiny->new->delete($nginx[$i]->url("/$service/tasks/$id"));
    return [$r->{status}, from_json($r->{content})];
}

my $ok = [202, undef];
my $ended = [409, { detail => 'Task has ended' }];
my $not_found = [404, { detail => 'Task not found' }];

sub cancelled {
    my ($name, $service, $id, @before) = @_;
    my ($streamed, $result) = outcome($id, 5);

    is($result, 'The task was cancelled.', "$name: completed_task");
    is_deeply($streamed, [@before, [scalar @before, $nothing]],
        "$name: stream");
    is_deeply([@{ task($service, $id) }{qw(status error result)}],
        ['cancelled', 'The task was cancelled.', undef], "$name: task");
    is_deeply(cancel($_, $service, $id), $ended, "$name: only once")
        for 0, 1;
}

for my $i (0, 1) {
    my $where = $i ? 'elsewhere' : 'here';

    is_deeply(cancel($i, 'ask', 'never'), $not_found, "unknown, $where");

    my $id = waiting('ask', {});
    is_deeply(cancel($i, 'ask', $id), $ok, "waiting, $where");
    cancelled("waiting, $where", 'ask', $id, $question);
    is(post($i, 'ask', human_response($id, '1')), 409,
        "waiting, $where: an answer is too late");

    # by whichever worker has it

    my @ids = map { submit('sleeper', { ms => 30000 }) } 1 .. 4;
    state('sleeper', $_, 'running') for @ids;

    for my $id (@ids) {
        is_deeply(cancel($i, 'sleeper', $id), $ok, "running, $where");
        cancelled("running, $where", 'sleeper', $id);
    }

    $id = submit('failing', { fail => 1000 });
    wait_for { $redis->redis->zscore('{llama_deploy.failing}:timers', $id) }
        10, 'a failed task to rest';
    is(task('failing', $id)->{status}, 'queued', "delayed, $where: queued");
    is_deeply(cancel($i, 'failing', $id), $ok, "delayed, $where");
    cancelled("delayed, $where", 'failing', $id);
}

# one whose worker hears of it only when it comes to rest

my $steps = File::Temp->new(TEMPLATE => 'workflow-steps-XXXXXX', TMPDIR => 1);
chmod 0666, $steps->filename;

for my $rest (['wait', { ask => 1 }, [0, { prefix => 'Number: ' }]],
    ['be tried again', { fail => 1 }])
{
    my ($what, $input, @before) = @$rest;
    my $id = submit('climbing', { file => $steps->filename, ms => 500,
        events => 0, %$input });
    state('climbing', $id, 'running');
    is($redis->redis->evalsha(Workflow::Fault->sum('cancel'), 4,
        (map { "{llama_deploy.climbing}:$_" } 'queue', "task:$id", 'bell',
            'timers'), $id, 'nobody:', 'climbing'), 'accepted',
        "about to $what: accepted");
    cancelled("about to $what", 'climbing', $id, @before);
}

# one that nobody has claimed yet is ended by who claims it

my @queued = map { submit('later', { arg1 => 'x' }) } 1 .. 3;
is_deeply(cancel($_, 'later', $queued[$_]), $ok, 'queued') for 0, 1;
is_deeply(cancel(1, 'later', $queued[0]), $ok, 'queued: again');
is(task('later', $queued[0])->{status}, 'queued', 'queued: as yet');
is_deeply([$inbox->drain], [], 'queued: nothing is published as yet');

s/(workflow echo; queue tasks;) running off;/$1/ for $runs;
$nginx[1]->write(http => $runs);
$nginx[1]->reload;

my %later;

while (keys %later < @queued) {
    my $m = $inbox->json;
    $later{$m->{data}{task_id}} = $m->{data}{result}
        if $m->{action} eq 'completed_task';
}

is_deeply(\%later, { (map { $_ => 'The task was cancelled.' } @queued[0, 1]),
    $queued[2] => 'x_result' }, 'queued: ended when they are claimed');
is_deeply([@{ task('later', $queued[1]) }{qw(status attempts)}],
    ['cancelled', 0], 'queued: never run');
is_deeply(cancel(0, 'later', $queued[2]), $ended, 'completed');
is_deeply([$inbox->drain], [], 'nothing is published twice');

for (@nginx) {
    is($_->stop, 0, 'nginx ends');
    $_->log_ok;
}


# Thousands wait: in Redis, not in the workers.

sub rss {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/status" or die "/proc/$pid/status: $!";
    my ($kilobytes) = map { /^VmRSS:\s+(\d+) kB/ } <$file>;
    return $kilobytes;
}

my $second = Workflow::Redis->new;
my $crowd = Workflow::Nginx->new(http => <<"HTTP", locations => <<'LOCATIONS');
keepalive_requests 1000000;
workflow_load \@PLUGINS\@/ask.so;
workflow_queue tasks { url @{[ $second->url ]}; }
workflow_service crowd { workflow ask; queue tasks; step_interval 10s; }
HTTP
location / { workflow_pass crowd; }
LOCATIONS

sub park {
    my ($name, $from, $to) = @_;
    my $status = Workflow::Load::post($crowd->port, '/process_message',
        [map { new_task("$name-$_", {}) } $from .. $to], 240);
    is_deeply($status, { 200 => $to - $from + 1 }, "$name: accepted");
}

sub parked { return $second->redis->zcard('{llama_deploy.crowd}:timers') }

park('first', 1, 2000);
wait_for { parked() == 2000 } 30, 'the first ones to wait';

my %before = map { $_ => rss($_) } $crowd->workers;

park('crowd', 1, PARKED);
wait_for { parked() == PARKED + 2000 } 240, 'all to wait';

# AddressSanitizer keeps what is freed for a while

for my $pid (SANITIZED ? () : sort keys %before) {
    cmp_ok(rss($pid) - $before{$pid}, '<', 3 * 1024,
        PARKED . ' wait: a worker has not grown') || diag("$before{$pid} kB");
}

my $answers = $second->inbox('llama_deploy.control_plane');

for my $i (1 .. 5) {
    my $begin = time;
    http_post($crowd->url('/process_message'), new_task("more-$i", {}));
    is_deeply($answers->json->{data}{data}, $question->[1],
        'another one starts');
    cmp_ok(time - $begin, '<', 1, 'at once: no slot is taken');
}

for my $id ('crowd-1', 'crowd-' . PARKED, 'more-1') {
    my $begin = time;
    http_post($crowd->url('/process_message'), human_response($id, $id));
    my @messages = $answers->task($id);
    is($messages[-1]{data}{result}, $id, "one of them is answered");
    cmp_ok(time - $begin, '<', 1, 'at once');
}

is(from_json(http_get($crowd->url('/'))->{content})->{num_outstanding_calls},
    PARKED + 2000 + 5 - 3, 'all others are outstanding');

is($crowd->stop, 0, 'nginx ends');
$crowd->log_ok;

done_testing;
