# Pub/Sub reaches every worker of every nginx: what is published is taken by
# exactly one of four workers in two nginx; bad messages do no harm; namespaces,
# services and queues do not mix.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep);
use Workflow;
use Workflow::Load;
use Workflow::Plugin;

my $probe = Workflow::Plugin->new('probe');
my $redis = Workflow::Redis->new;

my $http = <<"HTTP";
workflow_load @{[ $probe->path ]};
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/ask.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service echo { workflow echo; queue tasks; max_message_size 64k; }
workflow_service ask { workflow ask; queue tasks; }
workflow_service hurry { workflow ask; queue tasks; event_ttl 1s; }
workflow_service full { workflow echo; queue tasks; max_queued 3; running off; }
workflow_service few { workflow ask; queue tasks; max_events 3; }
workflow_service either { workflow either; queue tasks; }
workflow_service short { workflow echo; queue tasks; result_ttl 1s; }
HTTP

my $locations = join '', map { "location /$_/ { workflow_pass $_; }\n" }
    qw(echo ask hurry full few either short);

my @nginx = map { Workflow::Nginx->new(http => $http,
    locations => $locations) } 1 .. 2;

$redis->subscribed(4, map { "llama_deploy.$_" }
    qw(echo ask hurry full few either short));

my $inbox = $redis->inbox('llama_deploy.control_plane');
my $n = 0;

sub publish {
    my ($service, @messages) = @_;
    Workflow::Load::publish($redis->port, "llama_deploy.$service", \@messages,
        20);
}

sub follower {
    return Workflow::Load::Follower->new($redis->port,
        'llama_deploy.control_plane');
}

# So many tasks, each completed once, with one streamed event of index 0.

sub each_once {
    my ($name, $count, @messages) = @_;
    my $follower = follower();

    publish(echo => @messages);
    $follower->follow($count, 20);
    $follower->settle(0.3);

    my ($completed, $streamed) = ($follower->completed, $follower->streamed);
    is(scalar(keys %$completed), $count, "$name: $count tasks");
    is_deeply([grep { $completed->{$_} != 1 } keys %$completed], [],
        "$name: completed once");
    is_deeply([grep { "@{ $streamed->{$_} // [] }" ne '0' } keys %$completed],
        [], "$name: streamed once");
    return $follower;
}

sub logs { return map { $_->log } @nginx }

sub logged {
    my ($pattern, $name) = @_;
    ok(eval { wait_for { join('', logs()) =~ $pattern } 5 },
        "logged: $name") || diag("no $pattern");
}

# Claimed by one worker.

each_once('task ids', 200, map { new_task("id-$_", { arg1 => $_ }) } 1 .. 200);

each_once('message and task ids', 200, map { message('new_task',
    { task_id => "both-$_", input => to_json({ arg1 => "$_" }) },
    id_ => "m-$_", type => 'echo') } 1 .. 200);

my $follower = each_once('message ids alone', 200, map { message('new_task',
    { input => to_json({ arg1 => 'same' }) }, id_ => "alone-$_") } 1 .. 200);
is(scalar(grep { !/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/ }
    keys %{ $follower->completed }), 0, 'such tasks are given ids');

$follower = each_once('no ids at all', 200, map { message('new_task',
    { input => to_json({ arg1 => "none $_" }) }) } 1 .. 200);
is_deeply([sort values %{ $follower->results }],
    [sort map { "none ${_}_result" } 1 .. 200], 'each has its own result');

# Replays: at once, and when the task has long ended.

my @replayed = (
    new_task('replayed', { arg1 => 'x' }),
    message('new_task', { task_id => 'replayed-id',
        input => to_json({ arg1 => 'x' }) }, id_ => 'replayed-m'),
    message('new_task', { input => to_json({ arg1 => 'x' }) },
        id_ => 'replayed-alone'),
    message('new_task', { input => to_json({ arg1 => 'replayed none' }) }));

each_once('replays', 4, (@replayed) x 5);
$follower = follower();
publish(echo => (@replayed) x 2,
    message('new_task', { task_id => 'replayed',
        input => to_json({ arg1 => 'x' }) }, id_ => 'another message'));
$follower->settle(0.3);
is($follower->{count}, 0, 'replays of what has ended');

# Messages are remembered where their tasks are not, or not for as long.

sub seen {
    my ($service) = @_;
    return scalar(() = $redis->redis->keys("{llama_deploy.$service}:seen:*"));
}

my $remembered = seen('echo');
each_once('a task of its own id', 1, new_task('own', { arg1 => 'own' }));
is(seen('echo'), $remembered, 'is remembered itself');
each_once('a task without', 1,
    message('new_task', { input => to_json({ arg1 => 'none' }) }));
is(seen('echo'), $remembered + 1, 'its message is');
publish(short => (new_task('short', { arg1 => 'x' })) x 2);
$inbox->task('short');
is(seen('short'), 1, 'so is one whose task is soon forgotten');

publish(echo => new_task('replayed', { arg1 => 'y' }));
logged(qr/\[error\].*task "replayed": the task is known with another input/,
    'a known task with another input');

# An event that is replayed is one event: of five answers two and two are the
# same.

publish(ask => human_response('events', 'first', id_ => 'e-1'),
    human_response('events', 'first', id_ => 'e-1'),
    human_response('events', 'second', id_ => 'e-2'),
    (human_response('events', 'third')) x 2);
wait_for { $redis->redis->llen('{llama_deploy.ask}:events:events') == 3 } 5,
    'three events to be kept';
sleep 0.1;
is($redis->redis->llen('{llama_deploy.ask}:events:events'), 3,
    'a replayed event is taken once');

# Bad messages.  Those that tell their task are answered, once.

$inbox->drain;

my $deep = '[' x 200 . ']' x 200;
my $event = 'module.Class';

for my $case (
    ['nothing', '', qr/body: Field required/],
    ['no JSON', 'hello', qr/body\.0: JSON decode error: Expecting value/],
    ['broken JSON', '{bad',
        qr/body\.1: JSON decode error: Expecting property name enclosed in/],
    ['binary', "\x00\xff\xfe\x80",
        qr/body\.0: JSON decode error: Expecting value/],
    ['invalid UTF-8', "{\"action\": \"\xff\"}", qr/body\.12: .*Invalid UTF-8/],
    ['a NUL', '{"type": "\u0000"}', qr/body\.10: .*NUL is not allowed/],
    ['a lone surrogate', '{"type": "\ud800"}', qr/body\.10: .*Lone surrog/],
    ['an array', '[]', qr/body: Input should be a valid dictionary/],
    ['a string', '"x"', qr/body: Input should be a valid dictionary/],
    ['too deep', $deep, qr/body\.128: .*Nesting deeper than 128 levels/],
    ['a key twice', '{"data": {}, "data": {}}', qr/body\.13: .*Duplicate key/],
    ['nothing in it', '{}', qr/body\.action: .*Unhandled action: None/],
    ['action null', '{"action": null}',
        qr/body\.action: .*Unhandled action: None/],
    ['an unknown action', '{"action": "dance"}',
        qr/body\.action: Input should be 'new_task', 'completed_task'/],
    ['an action that is none of ours', '{"action": "completed_task"}',
        qr/body\.action: .*Unhandled action: completed_task/],
    ['a number for an action', '{"action": 1}',
        qr/body\.action: Input should be 'new_task'/],
    ['data no object', '{"action": "new_task", "data": []}',
        qr/body\.data: Input should be a valid dictionary/],
    ['type no string', '{"action": "new_task", "type": 1}',
        qr/body\.type: Input should be a valid string/],
    ['stats no object', '{"action": "new_task", "stats": 1}',
        qr/body\.stats: Input should be a valid dictionary/],
    ['id_ no string', '{"action": "new_task", "id_": 1}',
        qr/body\.id_: Input should be a valid string/],
    ['no input', message('new_task', {}),
        qr/body\.data\.input: Field required/],
    ['an event without a task', message('send_event', { input => event_input(
        'HumanResponseEvent', { response => '1' }) }),
        qr/body\.data\.task_id: Field required/],
    ['an event that is not JSON', message('send_event', { task_id => 'bad-e',
        input => '{' }), qr/body\.data\.input\.1: JSON decode error/],
    ['an event that is none', message('send_event', { task_id => 'bad-e',
        input => '{"response": "42"}' }), qr/body\.data\.input: .*an event is/],
    ['an unknown event', send_event('bad-e', $event, {}),
        qr/does not accept events of type '\Q$event\E'; it accepts/],
    ['an event of another workflow', human_response('bad-e', '42'),
        qr/workflow 'echo' does not accept events of type 'llama_index\.core/],
    ['an id that is too long', new_task('x' x 257, { arg1 => 'x' }),
        qr/body\.data\.task_id: String should have at most 256 characters/],
    ['an empty id', new_task('', { arg1 => 'x' }),
        qr/body\.data\.task_id: String should have at least 1 character/],
    ['an id that is no string', new_task(undef, { arg1 => 'x' },
        task_id => 1), qr/body\.data\.task_id: Input should be a valid string/],

    # these are answered

    ['another service', new_task('bad-1', { arg1 => 'x' })
        =~ s/\}$/,"type":"other"}/r,
        qr/body\.type: .*Consumer cannot process messages of type 'other'\./,
        'bad-1'],
    ['no input, a task', message('new_task', { task_id => 'bad-2' }),
        qr/body\.data\.input: Field required/, 'bad-2'],
    ['input no string', message('new_task', { task_id => 'bad-3',
        input => { arg1 => 'x' } }),
        qr/body\.data\.input: Input should be a valid string/, 'bad-3'],
    ['input no JSON', new_task('bad-4', 'hello'),
        qr/body\.data\.input\.0: JSON decode error: Expecting value/, 'bad-4'],
    ['input no object', new_task('bad-5', '[1]'),
        qr/body\.data\.input: Input should be a valid dictionary/, 'bad-5'],
    ['session_id no string', new_task('bad-6', { arg1 => 'x' },
        session_id => 1),
        qr/body\.data\.session_id: Input should be a valid string/, 'bad-6'],
) {
    my ($name, $text, $reason, $id) = @$case;

    my $before = join '', logs();
    publish(echo => $text);

    my $line = qr{\[error\].*"echo": refused a message from Pub/Sub: .*$reason};
    my $lines = () = $before =~ /$line/g;
    ok(eval { wait_for { (() = join('', logs()) =~ /$line/g) > $lines } 5 },
        "logged: $name") || diag("no $line:\n", substr join('', logs()),
            length $before);

    # and the consumer goes on

    my $good = 'good-' . ++$n;
    publish(echo => new_task($good, { arg1 => 'x' }));
    my @messages = map { $_->{action} eq 'completed_task'
        ? $_ : () } $inbox->task($good);
    is($messages[0]{data}{result}, 'x_result', "$name: goes on");
}

$inbox->drain;

# Once among four workers, and again when the same is published anew.

my $answered = follower();
my @answered = map { "answered-$_" } 1 .. 50;
publish(echo => (map { new_task($_, 'hello') } @answered) x 2);
$answered->follow(50, 10);
$answered->settle(0.3);
is_deeply($answered->completed, { map { $_ => 1 } @answered },
    'a bad task is answered once');
is_deeply($answered->streamed, { map { $_ => [0] } @answered },
    'and its stream is ended');
like($answered->results->{'answered-1'},
    qr/^body\.data\.input\.0: JSON decode error: Expecting value$/,
    'the answer says what is wrong');
my $status = http_get($nginx[0]->url('/echo/tasks/answered-1'));
is(from_json($status->{content})->{status}, 'failed',
    'the task has failed');

# Larger than max_message_size: whose it is is not looked for.

publish(echo => new_task('huge', { arg1 => 'x' x (2 * 1024 * 1024) }));
logged(qr/\[error\].*message of 20\d{5} bytes from Pub\/Sub is larger than max/,
    'a huge message');
publish(echo => new_task('after', { arg1 => 'x' x 50000 }));
is(length(($inbox->task('after'))[1]{data}{result}), 50000 + 7,
    'a large one goes through');

# Many bad ones in a row, with good ones among them.

my $garbage = "\x01garbage";
each_once('among garbage', 100, map { ($garbage) x 5,
    new_task("among-$_", { arg1 => 'x' }) } 1 .. 100);

# The queue is full: refused over HTTP, answered by Pub/Sub, once.

my $refused = follower();
publish(full => map { new_task("full-$_", { arg1 => $_ . '' }) } 1 .. 5);
$refused->follow(2, 10);
$refused->settle(0.3);
is_deeply($refused->completed, { 'full-4' => 1, 'full-5' => 1 },
    'two of five do not fit');
is_deeply([sort values %{ $refused->results }],
    [("The service's queue is full.") x 2], 'they are told why');
my $r = http_post($nginx[0]->url('/full/process_message'),
    new_task('full-6', { arg1 => 'x' }));
is($r->{status}, 503, 'HTTP: 503');
is($r->{headers}{'retry-after'}, 1, 'HTTP: Retry-After');
is(http_post($nginx[0]->url('/full/process_message'),
    new_task('full-1', { arg1 => '1' }))->{status}, 200,
    'a known task is no new one');

# Events for tasks that are not known are kept for event_ttl, up to max_events.

publish(hurry => human_response('late', 'lost'));
wait_for { $redis->redis->exists('{llama_deploy.hurry}:events:late') } 5,
    'the event to be kept';
wait_for { !$redis->redis->exists('{llama_deploy.hurry}:events:late') } 3,
    'the event to expire';
$inbox->drain;
publish(hurry => new_task('late', {}));
is($inbox->json->{data}{data}{prefix}, 'Enter a number: ', 'asked');
is_deeply([$inbox->drain], [], 'an event is gone after event_ttl');
publish(hurry => human_response('late', '42'));
is(($inbox->task('late'))[1]{data}{result}, '42', 'a new one is not');

publish(few => map { human_response('many', $_ . '') } 1 .. 5);
logged(qr/\[error\].*task "many": too many events for the task/,
    'max_events');
publish(few => new_task('many', {}));

# both are answers, and two threads may take them

like(($inbox->task('many'))[-1]{data}{result}, qr/^[1-3]$/,
    'the first ones are kept');

# A run that does not wait for an event is given it all the same.

publish(either => human_response('early', 'before the task'));
wait_for { $redis->redis->exists('{llama_deploy.either}:events:early') } 5,
    'the event to be kept';
publish(either => new_task('early', {}));
is(($inbox->task('early'))[-1]{data}{result}, 'somebody',
    'an event that came before its task');

# What was refused for want of room does not come back; what was queued does.

$refused = follower();
$_->write(http => $http =~ s/running off;//r) for @nginx;
$_->reload for @nginx;
$refused->follow(3, 10);
$refused->settle(0.3);
is_deeply($refused->results, { map { ("full-$_" => "${_}_result") } 1 .. 3 },
    'what was queued is run');
is(scalar(grep { $_ != 1 } values %{ $refused->completed }), 0, 'once');

for (@nginx) {
    is($_->stop, 0, 'nginx ends');
    $_->log_ok;
}

# Two namespaces in one Redis, two services and two queues in one nginx.

my $second = Workflow::Redis->new;

@nginx = (map({ Workflow::Nginx->new(http => <<"HTTP") } qw(core_one core_two)),
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/greeting.so;
workflow_queue tasks { url @{[ $redis->url ]}; topic_namespace $_; }
workflow_service echo { workflow echo; queue tasks; }
workflow_service greeting { workflow greeting; queue tasks; }
HTTP
Workflow::Nginx->new(http => <<"HTTP"));
workflow_load \@PLUGINS\@/echo.so;
workflow_queue here { url @{[ $redis->url ]}; topic_namespace three; }
workflow_queue there { url @{[ $second->url ]}; topic_namespace three; }
workflow_queue aside { url @{[ $redis->url ]}; topic_namespace aside; }
workflow_service here { workflow echo; queue here; }
workflow_service there { workflow echo; queue there; }
workflow_service aside { workflow echo; queue aside; }
HTTP

$redis->subscribed(2, map { ("$_.echo", "$_.greeting") } qw(core_one core_two));
$redis->subscribed(2, qw(three.here aside.aside));
$second->subscribed(2, 'three.there');

my %from = map { $_ => $redis->inbox("$_.control_plane") }
    qw(core_one core_two three aside llama_deploy);
$from{second} = $second->inbox('three.control_plane');

# the same task id everywhere

my @sent = (
    ['core_one', $redis, 'core_one.echo', { arg1 => 'one' }, 'one_result'],
    ['core_two', $redis, 'core_two.echo', { arg1 => 'two' }, 'two_result'],
    ['core_one', $redis, 'core_one.greeting', { name => 'one' },
        'Hello, one!'],
    ['three', $redis, 'three.here', { arg1 => 'here' }, 'here_result'],
    ['second', $second, 'three.there', { arg1 => 'there' }, 'there_result'],
    ['aside', $redis, 'aside.aside', { arg1 => 'aside' }, 'aside_result'],
);

for my $sent (@sent) {
    my ($where, $server, $channel, $input, $result) = @$sent;
    $server->redis->publish($channel, new_task('same', $input));
    is(($from{$where}->task('same'))[1]{data}{result}, $result,
        "$channel: result");
    is_deeply([map { $from{$_}->drain(0.02) } keys %from], [],
        "$channel: nothing elsewhere");
}

for (@nginx) {
    is($_->stop, 0, 'nginx ends');
    $_->log_ok;
}

done_testing;
