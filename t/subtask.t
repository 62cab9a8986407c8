# Tasks that steps send to other services: of this nginx, of another one, and
# to services that are none of ours.  Each is sent once and its result comes
# once, whoever is killed, reloaded or away meanwhile; the control plane is told
# of the run's own task only; a run that waits holds nothing.

use strict;
use warnings;

use File::Temp ();
use Test::More;
use Workflow::Record;
use Workflow;
use Workflow::Fault;
use Workflow::Plugin;
use Workflow::Proxy;
use Workflow::Published;

my $uuid = qr/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
my $digest = qr/[0-9a-f]{32}/;
my $killed = qr/exited on signal 9/;
my $denied = qr/\[error\] .* redis \S+: .*channel/;

my @plugins = map { Workflow::Plugin->new($_) } qw(stairs subtask interop);
my $redis = Workflow::Redis->new;
my $proxy = Workflow::Proxy->new($redis->port);
my $r = $redis->redis;
my $dir = File::Temp->newdir('workflow-subtask-XXXXXX', TMPDIR => 1);
my $file = "$dir/steps";
my $n = 0;

touch($file);
chmod 0777, "$dir", $file;

# What depends on the bell is not found by a timer: it would take ten seconds.

my %services = (
    delegate => 'workflow delegate; step_interval 10s;',
    send => 'workflow send; step_interval 10s; retry_delay 100ms;',
    post => 'workflow post; step_interval 10ms;',
    relay => 'workflow relay;',
    narrow => 'workflow delegate; max_concurrent_tasks 1; lease 1h;',
    child => 'workflow stairs; step_interval 10s; retry_delay 100ms;',
    raising => 'workflow stairs; raise_exceptions on;',
    echo => 'workflow echo; step_interval 10s;',
    sleeper => 'workflow sleeper; timeout 60s;',
    brief => 'workflow sleeper; timeout 200ms; max_attempts 1;',
    shut => 'workflow echo; running off; max_queued 1;',
    nest => 'workflow nest;',
);

sub nginx {
    my ($url, @names) = @_;
    my $http = join '', map({ "workflow_load \@PLUGINS\@/$_.so;\n" }
        qw(delegate echo sleeper)),
        map({ 'workflow_load ' . $_->path . ";\n" } @plugins),
        "workflow_queue tasks { url $url; }\n",
        map({ "workflow_service $_ { queue tasks; drain_timeout 300ms; "
            . "$services{$_} }\n" } @names);
    my $nginx = Workflow::Nginx->new(http => $http, locations => join '',
        map { "location /$_/ { workflow_pass $_; }\n" } @names);
    $redis->subscribed(2, map { "llama_deploy.$_" } @names);
    return $nginx;
}

sub touch { open my $out, '>', $_[0] or die "$_[0]: $!" }

sub post {
    my ($nginx, $service, $message) = @_;
    my $url = $nginx->url("/$service/process_message");
    http_post($url, $message)->{status} == 200 or die "refused: $message\n";
}

sub submit {
    my ($nginx, $service, $input, $id) = @_;
    $id //= "$service-" . ++$n;
    post($nginx, $service, new_task($id, $input));
    return $id;
}

sub answer { post($_[0], 'child', human_response(@_[1, 2])) }

sub field {
    my ($service, $id, $field) = @_;
    return task_in($r, $service, $id)->{$field} // '';
}

sub is_in {
    my ($state, $service, @ids) = @_;
    for my $id (@ids) {
        wait_for { field($service, $id, 'state') eq $state } 15,
            "$id to be $state";
    }
}

# A task of the service "child": what it has run is in the file.

sub child {
    my (%input) = @_;
    return { service => 'child', input => { file => $file, events => 0,
        %input } };
}

sub steps {
    my ($id) = @_;
    open my $in, '<', $file or die "$file: $!";
    return [map { /^\Q$id\E (\d+ \d+)$/ ? $1 : () } <$in>];
}

# The tasks that a task has sent to a service of ours, from Redis.

sub sent_to {
    my ($service, $id) = @_;
    my $prefix = "{llama_deploy.$service}:task:";
    return sort map { substr $_, length $prefix } $r->keys("$prefix$id/*");
}

# What is published of tasks, and of those that they send.

my $control = 'llama_deploy.control_plane';
my $published = Workflow::Published->new($redis, $control,
    'llama_deploy:subtasks');

sub outcome { return $published->outcome($_[0]) }
sub result { return outcome($_[0])->{result} }
sub streamed { return $published->streamed($_[0]) }

# The ids that "send" says it has sent, when it has so often.

sub sent {
    my ($id, $times) = @_;
    my $streamed = $published->until(sub {
        my @sent = grep { $_->{ids} } @{ streamed($id) };
        @sent >= ($times // 1) && \@sent;
    });
    return $times ? $streamed : @{ $streamed->[0]{ids} };
}

# A test of its own: each task has ended once, and what it has streamed was told
# once, where it belongs.

sub once {
    my ($name, @but) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @bad = $published->faults(sub { $_[0] =~ m{/} ? 'llama_deploy:subtasks'
        : $control }, @but);
    ok(!@bad, "$name: each ends once, and is told of in one place")
        || diag(map { "$_\n" } @bad);
}

# Lines of the log that complain, but for those that are expected.

sub ends_ok {
    my ($nginx, @expected) = (@_, qr/ failed, attempt \d of 3, again in /);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok(@expected);
    my @lines = grep { my $line = $_; $line =~ /\[(?:warn|error)\]/
        && !grep { $line =~ $_ } @expected } split /^/, $nginx->log;
    is("@lines", '', 'nothing else to complain of');
}

sub completed {
    my ($service, $id, $result) = @_;
    return { service => $service, task_id => $id, status => 'completed',
        result => $result, error => undef };
}

sub failed {
    my ($service, $id, $type, $message, $status) = @_;
    return { service => $service, task_id => $id, result => undef,
        status => $status // 'failed',
        error => { type => $type, message => $message } };
}

sub by_id {
    return [sort { $a->{task_id} cmp $b->{task_id} } @{ $_[0] }];
}


# All in one nginx.

my $nginx = nginx($redis->url, keys %services);

my $id = submit($nginx, 'delegate', child(events => 2));
is_deeply(outcome($id), { status => 'completed', result => 'climbed 1' },
    'one: its result is the result');
my ($child) = sent_to('child', $id);
like($child, qr/^\Q$id\E\/$digest-1$/, 'one: its id');
is_deeply(outcome($child), outcome($id),
    'one: who follows tasks of tasks is told');
is(scalar @{ streamed($child) }, 3, 'one: and what it streams');
is_deeply(streamed($id), [{ result => 'climbed 1' }],
    'one: the run streams its own');
my $task = from_json(http_get($nginx->url("/child/tasks/$child"))->{content});
is_deeply([@$task{qw(task_id session_id result attempts)}],
    [$child, undef, 'climbed 1', 1], 'one: GET');
once('one');

# several, equal ones too

$id = submit($nginx, 'send', { tasks => [(child()) x 100, child(pad => 1),
    { service => 'echo', input => { arg1 => 'x' } }] });
my @ids = sent($id);
my ($sum) = $ids[0] =~ m{/($digest)-1$};
is_deeply([@ids[0 .. 99]], [map { "$id/$sum-$_" } 1 .. 100],
    'several: equal ones are told apart');
unlike("@ids[100, 101]", qr/$sum/, 'several: others are others');
is_deeply(by_id(result($id)), by_id([
    (map { completed('child', $_, 'climbed 1') } @ids[0 .. 100]),
    completed('echo', $ids[101], 'x_result')]), 'several: all results');
is_deeply([map { steps($_) } @ids[0 .. 100]], [(['1 1']) x 101],
    'several: each has run once');
once('several');

# who waits holds no slot

my @parents = map { submit($nginx, 'narrow', child(ask => 1, pad => $_)) }
    1 .. 6;
is_in('waiting', 'narrow', @parents);
$id = submit($nginx, 'narrow', { service => 'echo', input => { arg1 => 'y' } });
is(result($id), 'y_result', 'slots: six wait, and two are there');

for my $id (@parents) {
    ($child) = sent_to('child', $id);
    is_in('waiting', 'child', $child);
    answer($nginx, $child, "for $id");
}

is_deeply([map { result($_) } @parents], [map { "for $_" } @parents],
    'slots: each has its own result');

my $deep = { service => 'echo', input => { arg1 => 'z' } };
$deep = { service => 'narrow', input => $deep } for 1 .. 8;
@parents = map { submit($nginx, 'narrow', $deep) } 1 .. 3;
is_deeply([map { result($_) } @parents], [('z_result') x 3],
    'slots: a service that asks itself');
once('slots');

# what goes wrong

my $bad = { service => 'child', input => {} };
my %raising = (%{ child(fail => 1) }, service => 'raising');
$id = submit($nginx, 'send', { tasks => [$bad, child(fail => 1), \%raising,
    (map { { service => $_, input => { ms => 60000 } } } qw(brief sleeper)),
    child(ask => 1), { service => 'nowhere', input => {} }] });
@ids = sent($id);
is_in('running', 'sleeper', $ids[4]);
is_in('waiting', 'child', $ids[5]);
is(HTTP::Tiny->new->delete($nginx->url($_))->{status}, 202, "DELETE $_")
    for "/sleeper/tasks/$ids[4]", "/child/tasks/$ids[5]";
my @stairs = ('WorkflowRuntimeError', "Error in step 'stair': ");
my @cancelled = ('WorkflowCancelledByUser', 'The task was cancelled.',
    'cancelled');
is_deeply(by_id(result($id)), by_id([
    failed('child', $ids[0], $stairs[0], "$stairs[1]bad input"),
    completed('child', $ids[1], 'climbed 1'),
    failed('raising', $ids[2], $stairs[0], "$stairs[1]failed on purpose"),
    failed('brief', $ids[3], 'WorkflowTimeoutError',
        'Operation timed out after 0.2 seconds'),
    failed('sleeper', $ids[4], @cancelled),
    failed('child', $ids[5], @cancelled),
    failed('nowhere', $ids[6], 'ServiceNotFoundError',
        'Service nowhere not found')]), 'wrong: the run is told');
is_deeply(steps($ids[1]), ['1 1', '1 2'], 'wrong: one was tried again');
my $lost = qr/\[warn\] .*"$id": its task for "nowhere" was not sent: Service/;
like($nginx->log, $lost, 'wrong: a line in the log');
is($r->exists("{llama_deploy.send}:sent:$ids[6]"), 0, 'wrong: nothing is kept');
once('wrong', $ids[2]);      # with raise_exceptions nobody else is told

submit($nginx, 'shut', { arg1 => 'x' });
$id = submit($nginx, 'send', { tasks => [{ service => 'shut',
    input => { arg1 => 'y' } }] });
is_deeply(result($id), [failed('shut', sent($id), 'QueueFullError',
    "The service's queue is full.")], 'a full queue');
is_deeply([sent_to('shut', $id)], [], 'a full queue: nothing is left in it');
my $full = qr/\[warn\] .*"$id": its task for "shut" was not sent: The/;
like($nginx->log, $full, 'a full queue: a line in the log');
once('a full queue');

# a result as deep as it may be, around which there is no room for an event

for my $levels (127, 128, 128) {
    $id = submit($nginx, 'delegate', { service => 'nest',
        input => { levels => $levels } }, "nest-$levels");
    my $data = outcome($id);
    like(to_json($data->{result} // $data->{error}{message}),
        $levels < 128 ? qr/^\[{127}\]{127}$/ : qr/cannot be read/,
        "$levels levels");
    once("$levels levels");
    $r->del("{llama_deploy.delegate}:task:$id");
}

# only services say what became of a task

$id = submit($nginx, 'delegate', child(ask => 1));
my $prefix = '{llama_deploy.child}:task:';
wait_for { $r->keys("$prefix$id/*") } 10, 'its task';
($child) = map { substr $_, length $prefix } $r->keys("$prefix$id/*");
is_in('waiting', 'child', $child);

for my $type ('TaskResultEvent', 'x.TaskResultEvent') {
    my $answer = http_post($nginx->url('/delegate/process_message'),
        send_event($id, $type, { task_id => $child, status => 'completed',
            result => 'forged' }));
    is($answer->{status}, 422, "$type from outside is refused");
}

answer($nginx, $child, 'real');
is(result($id), 'real', 'and changes nothing');

# nobody waits for it

$id = submit($nginx, 'send', { tasks => [child(ask => 1)], stop => \1 });
my $late = result($id);
($child) = @$late;
is_in('waiting', 'child', $child);
answer($nginx, $child, 'late');
is(result($child), 'late', 'unasked for: it runs');
is($r->exists("{llama_deploy.send}:events:$id"), 0,
    'unasked for: its result is dropped');
is_deeply([map { field('send', $id, $_) } qw(state result)],
    ['completed', to_json($late)], 'unasked for: the run has ended');

sub fetches { $r->info('commandstats')->{cmdstat_lrange} =~ /=(\d+)/ && $1 }

my $fetches = fetches();
$id = submit($nginx, 'post', { tasks => [child()], gate => "$dir/post",
    stop => \1 });
($child) = sent($id);
is(result($child), 'climbed 1', 'unasked for: there before the run ends');
wait_for { fetches() == $fetches + 1 } 10, 'events to be fetched';
touch("$dir/post");
is_deeply(result($id), [$child], 'unasked for: which is not disturbed');
once('unasked for');

# tried again

$id = submit($nginx, 'send', { tasks => [(child(ask => 1)) x 2], fail => 2 });
my $streamed = sent($id, 3);
@ids = @{ $streamed->[0]{ids} };
is_deeply($streamed, [map { { ids => \@ids, try => $_ } } 0 .. 2],
    'a step that is tried again sends the same');
is_deeply([sent_to('child', $id)], [sort @ids], 'once');
answer($nginx, $_, 'yes') for @ids;
is_deeply(by_id(result($id)), [map { completed('child', $_, 'yes') } sort @ids],
    'and is told once');

$id = submit($nginx, 'send', { tasks => [child()], attempts => 2 });
is_deeply(result($id), [completed('child', sent_to('child', $id),
    'climbed 1')], 'a task that is tried again sends the same');
is(field('send', $id, 'attempts'), 3, 'at each attempt');
is_deeply([map { steps($_) } sent_to('child', $id)], [['1 1']], 'once');
once('tried again');

is($r->zcard("{llama_deploy.$_}:timers"), 0, "$_: nothing waits any more")
    for sort keys %services;
is($r->xlen('{llama_deploy.send}:queue'), 0, 'nor is it queued');
ends_ok($nginx, $lost, $full, qr/"brief": .* has used up its attempts/,
    qr/"raising": task \S+ failed/);


# A service that is none of ours.

my $python = $redis->inbox('llama_deploy.py');
my $to_python = { service => 'py', input => { a => 1 } };

sub completed_task {
    my ($id, $result, %data) = @_;
    return message('completed_task', { task_id => $id, history => [],
        result => $result, data => \%data }, publisher_id => 'python');
}

sub publish { $r->publish($control, $_) for @_ }

$nginx = nginx($redis->url, qw(delegate send));
$redis->subscribed(3, $control);
$id = submit($nginx, 'send', { tasks => [$to_python, $to_python,
    { service => 'py', input => {} }] });
my @messages = map { $python->json } 1 .. 3;
@ids = sent($id);
my ($message) = @messages;
like(delete $message->{id_}, $uuid, 'python: a message of its own');
like(delete $message->{stats}{publish_time}, qr/^\d{4}(-\d\d){2} [\d:]{8}$/,
    'python: and a time');
is_deeply($message, { publisher_id => 'default', action => 'new_task',
    data => { task_id => $ids[0], session_id => $ids[0], agent_id => 'py',
        input => '{"a":1}' }, type => 'py',
    stats => { process_start_time => undef, process_end_time => undef } },
    'python: the task');
is_deeply([map { $_->{data}{task_id} } @messages], \@ids, 'python: each once');
is_deeply([map { $_->{data}{session_id} } @messages], \@ids,
    'python: in a session of its own');
is_in('waiting', 'send', $id);

# nothing for us: other tasks, other messages, none at all

my $other = completed_task("$id/" . ('0' x 32) . '-1', 'other');
(my $next = $ids[0]) =~ s/-1$/-7/;
publish(completed_task('other/' . ('0' x 32) . '-1', 'other'), $other,
    completed_task($next, 'other'), completed_task($id, 'other'),
    completed_task("$ids[0] ", 'other'), completed_task("/$ids[0]", 'other'),
    completed_task([$ids[0]], 'other'), completed_task(undef, 'other'),
    message('completed_task', $ids[0]), message('task_stream',
    { task_id => $ids[0], data => { completed_task => 'x/y' }, index => 0 }),
    message(['completed_task'], { task_id => $ids[0] }), '',
    'completed_task/', '["completed_task/"]', '"completed_task/"',
    substr($other, 0, -1), $other =~ s/"other"/"\xff"/r,
    '[' x 100000 . $other, "$other$other", "\0$other");

publish((completed_task($ids[0], 'first')) x 2,
    completed_task($ids[0], 'another'),
    completed_task($ids[1], '', status => 'failed', result => undef,
        error => { type => 'E', message => 'm' }),
    completed_task($ids[2], { b => [1] }));
is_deeply(result($id), [completed('py', $ids[0], 'first'),
    failed('py', $ids[1], 'E', 'm'), completed('py', $ids[2], { b => [1] })],
    'python: results, each once');
publish(completed_task($ids[2], 'late'));

my $unreadable = qr/\[warn\] .* a result on "$control" is not readable/;
like($nginx->log, $unreadable, 'python: what cannot be read is logged');

# by a task of a task

$id = submit($nginx, 'delegate', { service => 'delegate',
    input => $to_python });
$message = $python->json;
like($message->{data}{task_id}, qr{^$id/$digest-1/$digest-1$}, 'python, deep');
publish(completed_task($message->{data}{task_id}, 'deep'));
is(result($id), 'deep', 'python, deep: the result');
once('python');
is_deeply([$python->drain], [], 'python: nothing else was sent');
ends_ok($nginx, $unreadable);


# Those who send and those who are sent to in an nginx of their own.

$r->acl(qw(SETUSER worker on >secret ~* &* +@all));

my $children = nginx($redis->url, 'child');
my $parents = nginx($proxy->url =~ s{//}{//worker:secret@}r, qw(send relay));

# A run that waits for a child that asks; one that has not gone on since it has
# sent it.

sub waiting {
    my ($id, $child) = held(@_);
    touch("$dir/$id");
    is_in('waiting', 'send', $id);
    return ($id, $child);
}

sub held {
    my ($task) = @_;
    my $id = 'held-' . ++$n;
    submit($parents, 'send', { tasks => [$task // child(ask => 1)],
        gate => "$dir/$id" }, $id);
    my ($child) = sent($id);
    $task ? is($python->json->{data}{task_id}, $child, "$id: sent")
        : is_in('waiting', 'child', $child);
    return ($id, $child);
}

sub pid_of { return field('send', $_[0], 'worker') =~ /-(\d+)-\w+$/ ? $1 : 0 }

sub kill_workers {
    my %pids = map { $_ => 1 } @_;
    kill 'KILL', @_;
    wait_for { 2 == grep { !$pids{$_} } $parents->workers } 10, 'new workers';
    $redis->subscribed(2, 'llama_deploy.send');
}

# Killed before it goes on, which another worker does.

sub taken_over {
    my ($id) = @_;
    kill_workers(pid_of($id));
    wait_for { field('send', $id, 'attempts') == 2 } 10, 'a second attempt';
    touch("$dir/$id");
    is_in('waiting', 'send', $id);
}

# Tests of their own: the child's result is the run's, and it has run once.

sub returns_ok {
    my ($name, $id, $child, $attempts) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply(result($id), [completed('child', $child, "for $id")],
        "$name: the result");
    is_deeply([sent_to('child', $id)], [$child], "$name: sent once");
    is_deeply(steps($child), ['1 1'], "$name: and run once");
    is(field('send', $id, 'attempts'), $attempts, "$name: attempts");
}

($id, $child) = waiting();
kill_workers($parents->workers);
answer($children, $child, "for $id");
returns_ok('killed while it waits', $id, $child, 1);

($id, $child) = held();
taken_over($id);
answer($children, $child, "for $id");
returns_ok('killed when it has sent', $id, $child, 2);

($id, $child) = held();
my $pid = pid_of($id);
kill 'STOP', $pid;
answer($children, $child, "for $id");
is(result($child), "for $id", 'stopped: the child ends meanwhile');
touch("$dir/$id");
kill_workers($pid);
returns_ok('killed before it is told', $id, $child, 2);
once('killed');

# a reload; nobody is there

for my $case (['reload', sub { $parents->reload }, sub { }],
    ['stop', sub { $parents->stop }, sub { $parents->start }])
{
    my ($name, $leave, $return) = @$case;
    my @one = waiting();
    my @two = held();

    $leave->();
    answer($children, $_->[1], "for $_->[0]") for \@one, \@two;
    is_deeply([map { result($_->[1]) } \@one, \@two], [map { "for $_->[0]" }
        \@one, \@two], "$name: the children end");
    $return->();
    touch("$dir/$two[0]");
    returns_ok("$name while it waits", @one, 1);
    returns_ok("$name when it has sent", @two, 1);
    once($name);
}

# the same with a service that is none of ours

sub heard {
    my ($name, $id, $child, $attempts) = @_;
    publish(completed_task($child, "for $id"));
    is_deeply(result($id), [completed('py', $child, "for $id")],
        "$name: the result");
    is(field('send', $id, 'attempts'), $attempts, "$name: attempts");
    is_deeply([$python->drain], [], "$name: not sent again");
}

($id, $child) = held($to_python);
taken_over($id);
heard('python, killed when it has sent', $id, $child, 2);

($id, $child) = waiting($to_python);
$parents->reload;
$redis->subscribed(3, $control);
heard('python, reload while it waits', $id, $child, 1);

# answered while the worker that has sent it stands still: the other one hears

($id, $child) = held($to_python);
$pid = pid_of($id);
kill 'STOP', $pid;
publish(completed_task($child, "for $id"));
wait_for { $r->exists("{llama_deploy.send}:events:$id") } 5, 'its result';
touch("$dir/$id");
kill_workers($pid);
heard('python, killed before it is told', $id, $child, 2);

# a task that is not known any more, sent again: what it has sent is

$id = submit($parents, 'send', { tasks => [child(), $to_python, $bad] });
@ids = sent($id);
$message = $python->json;
publish(completed_task($ids[1], 'once'));
my $results = by_id(result($id));
once('python');
$r->del("{llama_deploy.send}:task:$id");
submit($parents, 'send', { tasks => [child(), $to_python, $bad] }, $id);
is_deeply(by_id(result($id)), $results, 'known: the same results');
is_deeply(steps($ids[0]), ['1 1'], 'known: it is not run again');
is_deeply([$python->drain], [], 'known: nor published again');
once('known');

# the answer to what has sent it is lost

$proxy->cut_at(Workflow::Fault->sum('send'), 0);
$id = submit($parents, 'relay', { tasks => [$to_python, child(), $bad] });
$child = $python->json->{data}{task_id};
wait_for { $proxy->has_cut } 10, 'a cut';
is_in('waiting', 'relay', $id);
$redis->subscribed(3, $control);
$proxy->cut_at(Workflow::Fault->sum('accept'), 0);
publish(completed_task($child, 'py'));
is_deeply([map { $_->{result} } @{ result($id) }], ['py', 'climbed 1', undef],
    'cut: all results');
ok($proxy->has_cut, 'cut: twice');
is_deeply([map { @{ steps($_) } } sent_to('child', $id)], ['1 1'],
    'cut: run once');
is_deeply([$python->drain], [], 'cut: sent once');
once('cut');

# Redis does not let it be published, for a while

$r->acl(qw(SETUSER worker resetchannels &llama_deploy?[^p]*));
$id = submit($parents, 'send', { tasks => [$to_python] });
wait_for { $parents->log =~ /$denied/ } 10, 'a refusal';
$r->acl(qw(SETUSER worker allchannels));
$child = $python->json->{data}{task_id};
publish(completed_task($child, 'py'));
is_deeply(result($id), [completed('py', $child, 'py')], 'refused: not lost');
once('refused');

is($r->zcard("{llama_deploy.$_}:timers"), 0, "$_: nothing waits any more")
    for qw(send relay child);
ends_ok($parents, $killed, $denied, qr/\[warn\] .* a worker process is gone/,
    qr/not this worker's any more, the worker leaves/,
    qr/redis \S+ \(commands\): Server closed the connection/);
ends_ok($children);

done_testing;
