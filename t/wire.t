# What leaves for Redis, byte for byte, against recordings of llama_deploy 0.4.4
# in t/recordings: the same message in, the same messages out, but for ids and
# times.

use strict;
use warnings;

use Test::More;
use POSIX ();
use Time::HiRes qw(time);
use Workflow;
use Workflow::Plugin;

my $uuid4 = qr/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}
    -[0-9a-f]{12}/x;

my $probe = Workflow::Plugin->new('probe');
my $redis = Workflow::Redis->new;

# Services have the recorded names.  The local time is nobody else's.

my @services = (basic => 'echo', streaming => 'progress', hitl => 'ask',
    session => 'counter', value => 'value');
my $http = "workflow_queue tasks { url @{[ $redis->url ]}; }\n"
    . "workflow_load @{[ $probe->path ]};\n";
my $locations = '';

for (my $i = 0; $i < @services; $i += 2) {
    my ($service, $workflow) = @services[$i, $i + 1];
    $http .= "workflow_load \@PLUGINS\@/$workflow.so;\n"
        if $workflow ne 'value';
    $http .= "workflow_service $service { workflow $workflow; queue tasks; "
        . "step_interval 10s; }\n";
    $locations .= "location /$service/ { workflow_pass $service; }\n";
}

my $nginx = Workflow::Nginx->new(http => $http, locations => $locations,
    env => { TZ => 'XYZ-05:45' });

my $inbox = $redis->inbox('llama_deploy.control_plane');

$redis->subscribed(2, map { "llama_deploy.$_" } qw(basic streaming hitl session
    value));

# Payloads of the inbox until the task's completed_task.

sub payloads {
    my ($id) = @_;
    my @payloads;

    while (1) {
        my $payload = $inbox->next->[1];
        my $m = from_json($payload);
        next if $m->{data}{task_id} ne $id;
        push @payloads, $payload;
        return @payloads if $m->{action} eq 'completed_task';
    }
}

# Everything but id_ and publish_time, which are checked here.

sub stripped {
    my ($payload) = @_;
    my $stripped = $payload;

    $stripped =~ s/^\{"id_": "$uuid4", /{"id_": "ID", /;
    $stripped =~ s/"publish_time": "\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"/TIME/;
    return $stripped;
}

sub recording {
    my ($name) = @_;
    open my $file, '<', "t/recordings/$name.jsonl"
        or die "t/recordings/$name.jsonl: $!";
    my @lines = map { from_json($_) } <$file>;
    return @lines;
}

for my $name (qw(basic streaming hitl error session)) {
    my @in;
    my @expected;
    my $task;

    # of session the first task, which needs no state of an earlier one

    for my $message (recording($name)) {
        my $id = from_json($message->{payload})->{data}{task_id};
        $task //= $id;
        next if $id ne $task;

        if ($message->{channel} eq 'llama_deploy.control_plane') {
            push @expected, stripped($message->{payload});

        } else {
            push @in, $message;
        }
    }

    # the answer was sent when the question was on its way: here afterwards,
    # for its step may run beside the one that asks

    my ($first, @later) = @in;
    my @got;

    $redis->redis->publish($first->{channel}, $first->{payload});
    push @got, $inbox->next->[1] if @later;
    $redis->redis->publish($_->{channel}, $_->{payload}) for @later;
    @got = map { stripped($_) } @got, payloads($task);

    # the reference leaves the result's data empty

    $got[-1] =~ s/"data": \{"status": .*\}(\}, "action")/"data": {}$1/;
    is_deeply(\@got, \@expected, "$name: as recorded");
    ok(@expected >= 2 && @in >= 1, "$name: the recording is there");
}

is_deeply([$inbox->drain], [], 'nothing else is published');

# Over HTTP, without a session: null where the session's id stands.

my $n = 0;

sub run {
    my ($service, $input, %data) = @_;
    my $id = 'wire-' . ++$n;
    my $r = http_post($nginx->url("/$service/process_message"),
        new_task($id, $input, %data));
    $r->{status} == 200 or die "$r->{status} $r->{content}";
    return payloads($id);
}

my ($stream, $result) = map { stripped($_) } run(basic => { arg1 => 'x' });
is($stream, '{"id_": "ID", "publisher_id": "default", "data": {"task_id": '
    . '"wire-1", "session_id": null, "data": {"result": "x_result"}, '
    . '"index": 0}, "action": "task_stream", "stats": {TIME, '
    . '"process_start_time": null, "process_end_time": null}, '
    . '"type": "control_plane"}', 'task_stream without a session');
is($result, '{"id_": "ID", "publisher_id": "default", "data": {"task_id": '
    . '"wire-1", "history": [], "result": "x_result", "data": {"status": '
    . '"completed", "result": "x_result"}}, '
    . '"action": "completed_task", "stats": {TIME, '
    . '"process_start_time": null, "process_end_time": null}, '
    . '"type": "control_plane"}', 'completed_task');

# str(result): text in completed_task, JSON in the stream.

for my $case (
    ['"text"', 'text'],
    ['"True"', 'True'],
    ['""', ''],
    ['null', 'None'],
    ['true', 'True'],
    ['false', 'False'],
    ['0', '0'],
    ['-12', '-12'],
    ['9223372036854775807', '9223372036854775807'],
    ['0.1', '0.1'],
    ['1.0', '1.0'],
    ['1e3', '1e3'],
    ['[]', '[]'],
    ['{}', '{}'],
    ['[1, "a", null]', '[1, "a", null]'],
    ['{"a": {"b": [true]}}', '{"a": {"b": [true]}}'],
    ['"quote \\" backslash \\\\ line \\n"', "quote \" backslash \\ line \n"],
) {
    my ($json, $text) = @$case;
    my @got = run(value => { json => $json });
    my $m = from_json($got[1]);
    is($m->{data}{result}, $text, "result of $json");
    ok($got[0] =~ /"data": \{"result": \Q$json\E\}, "index": 0\}/,
        "$json is streamed as it is") || diag($got[0]);
}

# Beyond ASCII: text that is made here is escaped, with surrogates beyond the
# BMP, however it came.  JSON that passes through keeps its bytes, UTF-8.

for my $input ("{\"arg1\": \"h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"}",
    '{"arg1": "h\u00e9 \u20ac \ud83d\ude00"}')
{
    (my $quoted = $input) =~ s/(["\\])/\\$1/g;
    my $id = 'wire-' . ++$n;
    my $message = "{\"action\": \"new_task\", \"data\": {\"task_id\": "
        . "\"$id\", \"input\": \"$quoted\"}}";

    $redis->redis->publish('llama_deploy.basic', $message);
    my @got = payloads($id);
    ok($got[1] =~ /"result": "h\\u00e9 \\u20ac \\ud83d\\ude00_result"/,
        'escaped') || diag($got[1]);
    my ($text) = $got[1] =~ /^(.*), "data": \{"status"/;
    unlike($text, qr/[^\x20-\x7e]/, 'ASCII only');
    utf8::decode($got[0]);
    ok(from_json($got[0])->{data}{data}{result}
        eq "h\x{e9} \x{20ac} \x{1f600}_result", 'streamed');
}

# publish_time: local time, now.

my $before = POSIX::floor(time);
my ($m) = map { from_json($_) } run(basic => { arg1 => 'x' });
my $after = POSIX::floor(time);

ok((grep { $m->{stats}{publish_time} eq POSIX::strftime('%Y-%m-%d %H:%M:%S',
    gmtime($_ + (5 * 60 + 45) * 60)) } $before - 1 .. $after),
    'publish_time is local time') || diag($m->{stats}{publish_time});

# id_: version 4, never twice, whichever worker made it.

my %ids;
my @tasks = map { "ids-$_" } 1 .. 150;
$redis->redis->publish('llama_deploy.streaming',
    new_task($_, { arg1 => 'x' })) for @tasks;

my ($left, $messages) = (scalar @tasks, 0);

while ($left) {
    my $m = $inbox->json;
    $messages++;
    $ids{$m->{id_}}++;
    $left-- if $m->{action} eq 'completed_task';
}

is($messages, 5 * @tasks, 'four events and a result each');
is(scalar(keys %ids), $messages, 'every id_ is another');
is(scalar(grep { !/^$uuid4$/ } keys %ids), 0, 'all are of version 4');

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

done_testing;
