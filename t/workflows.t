# The example workflows, over HTTP and by Pub/Sub: results, streamed events,
# errors, order; and how soon a task is done in an idle service, whose timer
# would find it only after ten seconds.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::Plugin;

my $probe = Workflow::Plugin->new('probe');
my $redis = Workflow::Redis->new;

my @examples = qw(echo progress counter ask fanout flaky sleeper greeting);
my $common = 'queue tasks; step_interval 10s; max_attempts 1;';
my $http = "workflow_queue tasks { url @{[ $redis->url ]}; }\n"
    . "workflow_load @{[ $probe->path ]};\n"
    . join '', map { "workflow_load \@PLUGINS\@/$_.so;\n"
        . "workflow_service $_ { workflow $_; $common }\n" } @examples;

$http .= <<"HTTP";
workflow_service twice { workflow twice; $common }
workflow_service hasty { workflow sleeper; timeout 300ms; $common }
workflow_service asking { workflow ask; max_concurrent_tasks 1; timeout 300ms;
    $common }
HTTP

my @services = (@examples, qw(twice hasty asking));

my $nginx = Workflow::Nginx->new(http => $http, locations => join '',
    map { "location /$_/ { workflow_pass $_; }\n" } @services);

my $inbox = $redis->inbox('llama_deploy.control_plane');
$redis->subscribed(2, map { "llama_deploy.$_" } @services);

my $n = 0;

# In one write: HTTP::Tiny makes two, the second of which waits for the first
# one's delayed acknowledgement.

sub by_http {
    my ($service, $message) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $nginx->port)
        or die "connect: $!";
    my $answer = '';

    syswrite $s, "POST /$service/process_message HTTP/1.1\r\nHost: test\r\n"
        . "Connection: close\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($message) . "\r\n\r\n$message";
    1 while sysread $s, $answer, 4096, length $answer;
    $answer =~ m{^HTTP/1\.1 200 .*\r\n\r\nnull$}s or die $answer;
}

sub by_publish {
    my ($service, $message) = @_;
    $redis->redis->publish("llama_deploy.$service", $message);
}

my %ways = (HTTP => \&by_http, 'Pub/Sub' => \&by_publish);

# What a task streams, in order, and its result.

sub outcome {
    my ($id) = @_;
    my @messages = $inbox->task($id);
    my $last = pop @messages;

    for my $i (0 .. $#messages) {
        is($messages[$i]{data}{index}, $i, "index $i")
            if $messages[$i]{data}{index} != $i;
    }

    return ([map { $_->{data}{data} } @messages], $last->{data}{result});
}

sub result_is {
    my ($way, $service, $input, $streamed, $result) = @_;
    my $id = 'task-' . ++$n;
    $ways{$way}->($service, new_task($id, $input));
    my ($got, $text) = outcome($id);
    my $name = "$way: $service " . (ref $input ? to_json($input) : $input);
    is_deeply($got, $streamed, "$name: stream");

    ref $result ? like($text, $result, "$name: result")
        : is($text, $result, "$name: result");
}

my $nothing = [{ result => undef }];

for my $way (sort keys %ways) {
    result_is($way, echo => { arg1 => 'a' }, [{ result => 'a_result' }],
        'a_result');
    result_is($way, echo => {}, $nothing,
        "Error in step 'echo': arg1 is required.");
    result_is($way, echo => { arg1 => 1 }, $nothing,
        "Error in step 'echo': arg1 must be a string.");

    result_is($way, greeting => { name => 'Ada' },
        [{ result => 'Hello, Ada!' }], 'Hello, Ada!');

    result_is($way, progress => { arg1 => 'a' }, [
        { progress => 0.3 }, { progress => 0.6 }, { progress => 0.9 },
        { result => 'a_result_result_result' }], 'a_result_result_result');
    result_is($way, progress => {}, $nothing,
        "Error in step 's1': arg1 is required.");

    result_is($way, counter => {}, [{ result => 1 }], '1');

    my @squares = map { $_ * $_ } 0 .. 99;
    result_is($way, fanout => { n => 100 }, [{ result => \@squares }],
        to_json(\@squares));
    result_is($way, fanout => { n => 1 }, [{ result => [0] }], '[0]');
    result_is($way, fanout => { n => 0 }, $nothing,
        "Error in step 'split': n must be an integer from 1 to 1000.");

    result_is($way, flaky => { fail => 0 },
        [{ result => 'succeeded at try 1' }], 'succeeded at try 1');

    # four waits of a tenth of a second lie between five tries

    my $start = time;
    result_is($way, flaky => { fail => 4 },
        [{ result => 'succeeded at try 5' }], 'succeeded at try 5');
    cmp_ok(time - $start, '>=', 0.4, 'retries wait');
    cmp_ok(time - $start, '<', 2, 'and not longer');

    result_is($way, flaky => { fail => 5 }, $nothing,
        "Error in step 'attempt': failed on purpose");

    result_is($way, sleeper => { ms => 20 }, [{ result => 'slept 20 ms' }],
        'slept 20 ms');

    $start = time;
    result_is($way, hasty => { ms => 60000 }, $nothing,
        'Operation timed out after 0.3 seconds');
    cmp_ok(time - $start, '<', 2, 'a timeout ends the step');
    cmp_ok(time - $start, '>=', 0.3, 'and not before its time');
}

# ask: the answer after the question, right behind the task, and, by Pub/Sub
# only, before it.

# The step that answers may run beside the one that asks, and end the run
# before there was a question.

sub answered {
    my ($id, $answer, $name) = @_;
    my ($streamed, $result) = outcome($id);
    is($result, $answer, $name);
    shift @$streamed if @$streamed == 2
        && ($streamed->[0]{prefix} // '') eq 'Enter a number: ';
    is_deeply($streamed, [{ result => $answer }], "$name: stream");
}

for my $way (sort keys %ways) {
    my $id = 'ask-' . ++$n;
    my $send = $ways{$way};

    $send->(ask => new_task($id, {}));
    my $question = $inbox->json;
    is_deeply([@{ $question->{data} }{qw(task_id index data)}],
        [$id, 0, { prefix => 'Enter a number: ' }], "$way: asked");
    is_deeply([$inbox->drain], [], "$way: and waits");
    $send->(ask => human_response($id, '42'));
    my @messages = $inbox->task($id);
    is_deeply([map { $_->{data} } @messages], [
        { task_id => $id, session_id => undef, index => 1,
          data => { result => '42' } },
        { task_id => $id, history => [], result => '42',
          data => { status => 'completed', result => '42' } }],
        "$way: answered");

    $id = 'ask-' . ++$n;
    $send->(ask => new_task($id, {}));
    $send->(ask => human_response($id, '43'));
    answered($id, '43', "$way: answered right behind the task");

    # an event for a task that has ended

    if ($way eq 'HTTP') {
        my $r = http_post($nginx->url('/ask/process_message'),
            human_response($id, '44'));
        is($r->{status}, 409, 'an answer too late');

    } else {
        $send->(ask => human_response($id, '44'));
        wait_for { $nginx->log =~ /\[warn\].*"\Q$id\E": an event came after/ }
            5, 'the log to tell of an answer too late';
    }
}

my $early = 'ask-' . ++$n;
by_publish(ask => human_response($early, 'early'));
wait_for { $nginx->log =~ /"\Q$early\E": the task of an event is not known/ }
    5, 'the event to be kept';
by_publish(ask => new_task($early, {}));
answered($early, 'early', 'answered before the task');

is(http_post($nginx->url('/ask/process_message'),
    human_response('unknown', '1'))->{status}, 404,
    'no such task over HTTP');

# Runs that wait hold no slot, are not timed, and take their own answers only.

my @waiting = map { "wait-$_" } 1 .. 12;
by_publish(asking => new_task($_, {})) for @waiting;
my %asked = map { $inbox->json->{data}{task_id} => 1 } @waiting;
is_deeply([sort keys %asked], [sort @waiting], 'all ask at a cap of 1');
sleep 0.4;      # longer than the service's timeout
by_http(asking => human_response($_, "to $_")) for reverse @waiting;
my %results;

while (keys %results < @waiting) {
    my $m = $inbox->json;
    $results{$m->{data}{task_id}} = $m->{data}{result}
        if $m->{action} eq 'completed_task';
}

is_deeply(\%results, { map { $_ => "to $_" } @waiting },
    'each has its own answer');

# Two questions: answers come in order, also when both are there early.

for my $case (['after each question', 0], ['both at once', 1]) {
    my ($name, $at_once) = @$case;
    my $id = 'twice-' . ++$n;
    my @got;

    by_publish(twice => new_task($id, {}));
    push @got, $inbox->json->{data}{data};
    by_publish(twice => human_response($id, 'one'));
    push @got, $inbox->json->{data}{data} if !$at_once;
    by_publish(twice => human_response($id, 'two'));

    my @messages = $inbox->task($id);
    my $result = (pop @messages)->{data}{result};
    push @got, map { $_->{data}{data} } @messages;
    is_deeply(\@got, [{ prefix => 'First: ' }, { prefix => 'Second: ' },
        { result => 'one, two' }], "two questions, $name: stream");
    is($result, 'one, two', "two questions, $name: result");
}

# Latency of an idle service.

sub median { return (sort { $a <=> $b } @_)[@_ / 2] }

sub latencies {
    my ($way, $service, $input, $count) = @_;
    my @seconds;

    for (1 .. $count) {
        my $id = 'fast-' . ++$n;
        my $start = time;
        $ways{$way}->($service, new_task($id, $input));
        $inbox->task($id);
        push @seconds, time - $start;
    }

    return @seconds;
}

sub quick {
    my ($name, @seconds) = @_;
    my $median = median(@seconds);
    cmp_ok($median, '<', 0.02, "$name: done in 20 ms")
        || diag(join ' ', map { sprintf '%.1f', 1000 * $_ } @seconds);
    cmp_ok((sort { $b <=> $a } @seconds)[0], '<', 1,
        "$name: and no bell is missed");
}

quick($_, latencies($_, echo => { arg1 => 'x' }, 20)) for sort keys %ways;

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

# Two services on one queue and one worker: one of them is saturated, then free
# again, while the other is at work.  The bell of both is heard afterwards.

$nginx = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_load \@PLUGINS\@/sleeper.so;
workflow_load \@PLUGINS\@/echo.so;
workflow_service one { workflow sleeper; max_concurrent_tasks 1; $common }
workflow_service other { workflow echo; $common }
HTTP
    locations => join '', map { "location /$_/ { workflow_pass $_; }\n" }
        qw(one other));

$redis->subscribed(1, map { "llama_deploy.$_" } qw(one other));

my (@one, @other);

for (1 .. 10) {
    my @ids = map { 'busy-' . ++$n } 1 .. 3;
    by_http(one => new_task($_, { ms => 10 + int rand 20 })) for @ids;
    push @other, latencies('HTTP', other => { arg1 => 'x' }, 3);
    wait_for { http_get($nginx->url("/one/tasks/$_"))->{content}
        =~ /"status":"completed"/ } 5, "$_ to end" for @ids;
    push @one, latencies('HTTP', one => { ms => 0 }, 2);
}

quick('the service that was saturated', @one);
quick('the other one meanwhile', @other);

# The same at its most awkward: a service becomes free just when the bell of the
# other one rings, so that the blocking read which leaves it out is only on its
# way.  About one time in a hundred it is.

my @awkward;

for (1 .. 500) {
    my @ids = map { 'awkward-' . ++$n } 1 .. 2;
    my %left = map { $_ => 1 } @ids;

    by_publish(one => new_task($ids[0], { ms => 3 }));
    sleep 0.0015 + rand 0.003;
    by_publish(other => new_task($ids[1], { arg1 => 'x' }));

    while (%left) {
        my $m = $inbox->json;
        delete $left{$m->{data}{task_id}} if $m->{action} eq 'completed_task';
    }

    push @awkward, latencies('Pub/Sub', one => { ms => 0 }, 1);
}

quick('a service that becomes free as the other one is rung for', @awkward);

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

done_testing;
