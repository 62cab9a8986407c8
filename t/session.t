# The context of a session: in Redis without a control plane, in the control
# plane otherwise, in the layout of llama_deploy; loaded before a run, saved
# after it and before its result is told; and what happens when that fails.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);
use Workflow::Record;
use Workflow;
use Workflow::ControlPlane;
use Workflow::Plugin;

my $plugin = Workflow::Plugin->new('session');
my $redis = Workflow::Redis->new;
my $r = $redis->redis;
my $killed = qr/exited on signal 9/;

my @services = qw(counter session other brief hasty);

sub nginx {
    my ($service, %options) = @_;
    my $common = "queue tasks; max_attempts 2; retry_delay 10ms; $service";
    my $nginx = Workflow::Nginx->new(http => <<"HTTP",
workflow_load @{[ $plugin->path ]};
workflow_load \@PLUGINS\@/counter.so;
workflow_queue tasks {
    url @{[ $redis->url ]}; topic_namespace llama_deploy; }
workflow_service counter { workflow counter; $common }
workflow_service session { workflow session; timeout 20s; $common }
workflow_service other { workflow counter; $common }
workflow_service hasty { workflow session; timeout 300ms; $common }
workflow_service brief {
    workflow counter; timeout 300ms; session_ttl 1s; $common }
HTTP
        locations => join('', map { "location /$_/ { workflow_pass $_; }\n" }
            @services), %options);
    $redis->subscribed($nginx->{workers}, map { "llama_deploy.$_" } @services);
    return $nginx;
}

sub ended {
    my ($nginx, @expected) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok(@expected);
}

my $inbox = $redis->inbox('llama_deploy.control_plane');
my %seen;       # by task: streamed => [...], result, data, completed => count

sub take {
    my ($seconds) = @_;
    for my $payload (map { $_->[1] } $inbox->drain($seconds)) {
        utf8::decode($payload);
        my $m = from_json($payload);
        my $task = $seen{ $m->{data}{task_id} } //= { streamed => [],
            completed => 0 };

        if ($m->{action} eq 'task_stream') {
            push @{ $task->{streamed} }, $m->{data}{data};

        } else {
            $task->{completed}++;
            @$task{qw(result data)} = @{ $m->{data} }{qw(result data)};
        }
    }
}

sub outcome {
    my ($id, $seconds) = @_;
    wait_for { take(0.005); ($seen{$id} // {})->{completed} }
        $seconds // 10, "the end of $id";
    return $seen{$id};
}

my $n = 0;

sub bytes {
    my ($text) = @_;
    utf8::encode($text);
    return $text;
}

sub submit {
    my ($nginx, $service, $session, $input, %options) = @_;
    my $id = 'task-' . ++$n;
    my $message = new_task($id, $input // {}, session_id => $session);

    if ($options{publish}) {
        $r->publish("llama_deploy.$service", $message);

    } else {
        my $answer = http_post($nginx->url("/$service/process_message"),
            bytes($message));
        $answer->{status} == 200 or die "$service: $answer->{content}";
    }

    return $id;
}

sub run { return outcome(submit(@_)) }

# The structured result, as text; what it was instead.

sub value {
    my ($outcome) = @_;
    return $outcome->{data}{status} eq 'completed'
        ? to_json($outcome->{data}{result}) : to_json($outcome->{data});
}

sub result_is {
    my ($expected, $name, @task) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(value(run(@task)), $expected, $name);
}

sub began {
    my ($id) = @_;
    take(0.005);
    my $streamed = ($seen{$id} // {})->{streamed} // [];
    return scalar grep { $_->{began} } @$streamed;
}

sub task {
    my ($nginx, $service, $id) = @_;
    return from_json(http_get($nginx->url("/$service/tasks/$id"))->{content});
}

sub logs {
    my ($nginx, $like, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    like($nginx->log, $like, $name);
}

# No task has ended twice.

sub once {
    my ($name) = @_;
    take(0.3);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply([grep { $seen{$_}{completed} > 1 } sort keys %seen], [],
        "$name: no task has ended twice");
}


# Without a control plane.

{
    my $nginx = nginx('');
    my $key = '{llama_deploy.counter}:session:one';

    result_is(1, 'a new session', $nginx, 'counter', 'one');
    result_is(2, 'the same session', $nginx, 'counter', 'one');
    result_is(3, 'and by Pub/Sub', $nginx, 'counter', 'one', {}, publish => 1);
    result_is(1, 'another session', $nginx, 'counter', 'two');
    result_is(1, 'the same session of another service', $nginx, 'other',
        'one');
    result_is(1, 'no session', $nginx, 'counter', undef) for 1, 2;
    is_deeply({ $r->hgetall($key) }, { count => 3 }, 'in Redis');
    my $ttl = $r->ttl($key);
    ok($ttl > 604000 && $ttl <= 604800, 'session_ttl is a week by default');
    is_deeply([grep { !/:(?:one|two)$/ }
        $r->keys('{llama_deploy.*}:session:*')], [], 'and nothing else');

    # session_ttl begins anew with each task

    result_is(1, 'a session of a second', $nginx, 'brief', 's');
    my $brief = '{llama_deploy.brief}:session:s';
    cmp_ok($r->pttl($brief), '<=', 1000, 'session_ttl 1s');
    wait_for { $r->pttl($brief) < 500 } 5, 'some time';
    result_is(2, 'a session of another second', $nginx, 'brief', 's');
    cmp_ok($r->pttl($brief), '>', 500, 'session_ttl 1s, anew');
    wait_for { !$r->exists($brief) } 5, 'the end of a session';
    result_is(1, 'a session that was forgotten', $nginx, 'brief', 's');

    # whatever the value, the key and the session are

    my %values = (a => undef, b => JSON::PP::false, c => [], d => {},
        "k\x{e9}y \"\\\n" => "v\x{1F600}\x{e9}\"\\\n",
        n => 9007199254740993, x => '0.1', deep => [[{ y => [1] }]]);

    for my $session ('plain', 'a b/../c?d=e&f#g%41', "\x{e9}\x{1F600}", '{x}:',
        'x' x 256)
    {
        my $name = 'session ' . substr bytes($session), 0, 20;
        run($nginx, 'session', $session, { set => \%values });
        result_is(to_json(\%values), "$name: all values", $nginx, 'session',
            $session, { get => [keys %values, 'nothing'] });
    }

    # side by side, key by key

    run($nginx, 'session', 'many', { set => { old => 1, shared => 0 } });
    my @ids = map { submit($nginx, 'session', 'many', { ms => 300,
        set => { "k$_" => $_, shared => $_ } }, publish => 1) } 1 .. 8;
    wait_for { 8 == grep { began($_) } @ids } 10, 'all to begin';
    is(scalar(grep { $seen{$_}{completed} } @ids), 0, 'side by side');
    outcome($_) for @ids;
    my %session = $r->hgetall('{llama_deploy.session}:session:many');
    my $shared = delete $session{shared};
    ok($shared >= 1 && $shared <= 8, 'the same key: one of them');
    is_deeply(\%session, { old => 1, map { ("k$_" => $_) } 1 .. 8 },
        'different keys: all of them');

    # a run that waits, while others go on

    my $asked = submit($nginx, 'session', 'asked', { ask => 1,
        get => ['a'], set => { a => 1, b => 1 } });
    wait_for { task($nginx, 'session', $asked)->{status} eq 'waiting' } 5,
        'a run that waits';
    run($nginx, 'session', 'asked', { set => { c => 3 } });
    http_post($nginx->url('/session/process_message'),
        human_response($asked, 'yes'));
    is(value(outcome($asked)), 'true', 'a run that waited');
    result_is('{"a":1,"b":1,"c":3,"said":"yes"}', 'keeps what others set',
        $nginx, 'session', 'asked', { get => [qw(a b c said)] });

    # failures

    run($nginx, 'session', 'failed', { set => { a => 1 } });
    my $failed = run($nginx, 'session', 'failed', { fail => 1,
        set => { b => 2 } });
    is_deeply($failed->{data}, { status => 'failed', error => {
        type => 'WorkflowRuntimeError', message =>
            q{Error in step 'begin': failed on purpose} } }, 'a failed run');
    is_deeply($failed->{streamed}, [{ began => JSON::PP::true },
        { result => undef }], 'and its stream');
    my $next = run($nginx, 'session', 'failed', { get => ['a', 'b'] });
    is(value($next), '{"a":1,"b":2}',
        'the next one is sound, and finds what was set before it failed');
    is_deeply($next->{streamed}, [{ began => JSON::PP::true },
        { result => { a => 1, b => 2 } }], 'and has a stream of its own');

    # a run that was cancelled

    my $cancelled = submit($nginx, 'session', 'cancelled', { ms => 20000,
        set => { a => 1 } });
    wait_for { began($cancelled) } 5, 'a run';
    HTTP::Tiny->new->delete($nginx->url("/session/tasks/$cancelled"));
    is(outcome($cancelled)->{data}{status}, 'cancelled', 'a cancelled run');
    result_is('{}', 'leaves nothing', $nginx, 'session', 'cancelled',
        { get => ['a'] });

    # a run whose time was up

    run($nginx, 'hasty', 'hasty', { set => { a => 1 } });
    is(run($nginx, 'hasty', 'hasty', { ms => 20000, set => { a => 2 } })
        ->{data}{status}, 'failed', 'a run whose time was up');
    result_is('{"a":1}', 'leaves what was there', $nginx, 'hasty', 'hasty',
        { get => ['a'] });

    # a worker dies in the middle, and its task is run again

    my $added = submit($nginx, 'session', 'killed', { ms => 700,
        add => 'log' });
    wait_for { began($added) } 5, 'a run';
    my ($pid) = task_in($r, 'session', $added)->{worker}
        =~ /-(\d+)-\w+$/;
    kill 'KILL', $pid;
    outcome($added, 20);
    result_is(to_json({ log => [$added] }), 'a killed worker: set once',
        $nginx, 'session', 'killed', { get => ['log'] });

    # large, and kept by those who do not look at it

    run($nginx, 'session', 'large', { fill => 6_000_000 });
    run($nginx, 'session', 'large', { set => { a => 1 } });
    is($r->hstrlen('{llama_deploy.session}:session:large', 'filler'),
        6_000_002, 'six megabytes');

    once('Redis');
    ended($nginx, $killed);

    $nginx = nginx('', workers => 1);
    result_is(4, 'another nginx goes on', $nginx, 'counter', 'one');
    ended($nginx);
}


# With one.

my $cp = Workflow::ControlPlane->new(watch => sub {
    my ($request) = @_;
    my ($id) = $request->{body} =~ /\\"task_id\\":\s*\\"([^\\]*)/ or return;
    return task_in($redis->client, 'counter', $id)->{state};
});

my $plane = "control_plane @{[ $cp->url ]}; control_plane_timeout 1s;"
    . ' register_interval 1h; max_concurrent_tasks 16;';

sub path { my ($id) = @_; return qr{/sessions/\Q$id\E/state$} }
sub get_of { my ($id) = @_; return qr{^GET ${\ path($id) }} }
sub post_of { my ($id) = @_; return qr{^POST ${\ path($id) }} }

# The WorkflowState of a session in the control plane; what is in its context.

sub state_of {
    my ($id) = @_;
    my $text = ($cp->session($id) // {})->{$id} // return undef;
    return from_json(from_json($text));
}

sub globals_of {
    my ($id) = @_;
    my $globals = (state_of($id) // return undef)->{state}{globals};
    return { map { ($_ => from_json($globals->{$_})) } keys %$globals };
}

# As Python leaves it.

sub python {
    my ($id, $globals, %more) = @_;
    return to_json(to_json({ hash => 1838083916803841717, run_kwargs => {},
        session_id => $id, task_id => 'before', state => {
            globals => $globals, streaming_queue => '[]', queues => {},
            stepwise => JSON::PP::false, events_buffer => {},
            in_progress => {}, accepted_events => [], broker_log => [],
            is_running => JSON::PP::false, %more } }));
}

{
    my $nginx = nginx($plane);

    # what is asked and told, in which order; bug 15: {} is a state

    my %others = (
        'result_t' => '{"task_id": "t", "history": [], "result": "\u00e9"}',
        'stream_t' => '[{"task_id":"t","index":0,"data":{"a":NaN}}]',
        't' => '{}', 'retries' => '3');

    $cp->session('full', { %others });
    $cp->session('empty', {});

    for my $id (qw(full empty)) {
        my $task;
        $cp->forget;
        $cp->answer(post_of($id), hold => 1);
        $task = submit($nginx, 'counter', $id);
        my ($post) = $cp->asked(post_of($id));
        take(0.3);
        ok(!($seen{$task} // {})->{completed},
            "$id: saved before the result is told");
        is($post->{watched}, 'running', "$id: the task has not ended either");
        $cp->heal;
        $cp->release;
        is_deeply([@{ outcome($task) }{qw(result data)}], ['1',
            { status => 'completed', result => 1 }], "$id: the result");

        is(($cp->requests(path($id)))[0]{method}, 'GET', "$id: asked first");
        my $body = from_json($post->{body});
        is_deeply([keys %$body], [$id], "$id: only that key is sent");
        is_deeply(from_json($body->{$id}), { hash => undef,
            run_kwargs => {}, session_id => $id, task_id => $task, state => {
                globals => { count => '1' }, streaming_queue => '[]',
                queues => {}, stepwise => JSON::PP::false,
                events_buffer => {}, event_buffers => {}, in_progress => {},
                accepted_events => [], broker_log => [],
                is_running => JSON::PP::false } }, "$id: the state");
    }

    my %full = %{ $cp->session('full') };
    delete $full{full};
    is_deeply(\%full, \%others, 'what others keep there is as it was');
    result_is(2, 'read again', $nginx, 'counter', 'full');
    result_is(1, 'no session', $nginx, 'counter', undef);
    is(scalar($cp->requests(qr{/sessions//})), 0, 'no session: none is asked');
    is_deeply([$r->keys('*:session:{full,empty}')], [],
        'there is none in Redis');

    # connections are kept

    $cp->forget;
    $cp->session('kept', {});
    result_is($_, "task $_", $nginx, 'counter', 'kept') for 1 .. 10;
    my %connections = map { $_->{connection} => 1 } $cp->requests;
    cmp_ok(scalar(keys %connections), '<=', 4, 'connections are kept');

    # the recorded state of a Python service

    open my $recording, '<', 't/recordings/state.jsonl' or die $!;
    my $recorded = from_json(scalar <$recording>);
    my ($recorded_id) = $recorded->{path} =~ m{^/sessions/([^/]+)/state$};
    $cp->session($recorded_id,
        Workflow::ControlPlane::members($recorded->{request}));
    result_is(2, 'Python has counted to 1', $nginx, 'counter', $recorded_id);
    is_deeply(globals_of($recorded_id), { count => 2 }, 'and is told');

    # pickled values are not for us, and not lost

    my $pickle = 'gASVJAAAAAAAAACMBW15bW9klIwBQZSTlCmBlH2UjAF4lEsFc2Iu';
    $cp->session('python', { python => python('python', { count => '41',
        obj => $pickle, gone => $pickle, '' => '1', model => '{"__is_pydantic": true,'
        . ' "value": {"x": 5}, "qualified_name": "mymod.A"}' }) });
    result_is('{"count":41,"model":{"__is_pydantic":true,"qualified_name":'
        . '"mymod.A","value":{"x":5}}}', 'pickled: others are read', $nginx,
        'session', 'python', { get => [qw(count obj model)],
            set => { count => 42, gone => 'set' } });
    logs($nginx, qr/\[warn\] .*"python".*"obj"/, 'pickled: a warning');
    my $globals = state_of('python')->{state}{globals};
    is($globals->{obj}, $pickle, 'pickled: kept as it was');
    is($globals->{''}, '1', 'a key that steps cannot name is kept');
    is($globals->{gone}, '"set"', 'pickled: unless it is set');
    is($globals->{count}, '42', 'pickled: beside what was set');
    unlike($nginx->log, qr/gASV/, 'pickled: not in the log');

    # bug 13: what is left of earlier runs is not run

    my $left = sub { to_json({ __is_pydantic => JSON::PP::true,
        qualified_name => "llama_index.core.workflow.events.$_[0]",
        value => $_[1] }) };
    my $start = $left->(StartEvent => { _data => { fail => 1 } });
    my $stop = $left->(StopEvent => { result => 'old' });
    $cp->session('poisoned', { poisoned => python('poisoned',
        { count => '1' }, in_progress => { begin => [$start], _done => [] },
        queues => { begin => to_json([$start]), x => to_json([$stop]) },
        streaming_queue => to_json([$stop]), broker_log => [$start],
        accepted_events => [['begin', 'StartEvent']],
        events_buffer => { 'a.B' => [$start] }, waiter_id => 'x',
        is_running => JSON::PP::true) });
    my $run = run($nginx, 'session', 'poisoned', { get => ['count'] });
    is(value($run), '{"count":1}', 'leftovers: not run');
    is_deeply($run->{streamed}, [{ began => JSON::PP::true },
        { result => { count => 1 } }], 'leftovers: nor streamed');
    run($nginx, 'session', 'poisoned', { set => { a => 1 } });
    is_deeply(state_of('poisoned')->{state}{in_progress}, {},
        'leftovers: and gone');

    # later layouts

    $cp->session('dict', { dict => to_json(to_json({ hash => undef,
        run_kwargs => {}, session_id => 'dict', task_id => 'before',
        state => { state => { state_data => { _data => { count => '7' } },
            state_type => 'DictState', state_module =>
                'workflows.context.state_store' }, queues => {},
            event_buffers => {}, is_running => JSON::PP::false } })) });
    result_is(8, 'a later layout', $nginx, 'counter', 'dict');
    result_is(9, 'and on', $nginx, 'counter', 'dict');

    $cp->session('bare', { bare => to_json('{"hash":null,"state":{},'
        . '"run_kwargs":{},"session_id":"bare","task_id":"x"}') });
    result_is(1, 'a state with nothing in it', $nginx, 'counter', 'bare');
    $cp->session('null', { null => 'null' });
    result_is(1, 'null', $nginx, 'counter', 'null');

    # one that cannot be read is not run past

    my %bad = (number => '7', object => '{"state":{}}', text => '"{no"',
        empty_text => '""', list => '"[]"',
        globals => python('globals', []), key => python('key', 'x'),
        typed => to_json(to_json({ state => { state => { state_data => {
            _data => { count => '1' } }, state_type => 'MyState' } } })));

    for my $id ('.', '..') {
        $cp->forget;
        my $outcome = run($nginx, 'session', $id, { set => { a => 1 } });
        is($outcome->{data}{error}{type}, 'SessionStateError',
            "session '$id': fails");
        like($outcome->{result}, qr/it is not the id of a session/,
            "session '$id': says why");
        is(scalar($cp->requests), 0, "session '$id': nothing is asked for");
    }

    for my $name (sort keys %bad) {
        my $id = "bad-$name";
        $cp->session($id, { $id => $bad{$name} });
        $cp->forget;
        my $outcome = run($nginx, 'session', $id, { set => { a => 1 } });
        is($outcome->{data}{status}, 'failed', "bad state, $name: fails");
        ok(length $outcome->{result}, "bad state, $name: says why");
        is($outcome->{data}{error}{message}, $outcome->{result},
            "bad state, $name: in both places");
        is_deeply($outcome->{streamed}, [{ result => undef }],
            "bad state, $name: is not run");
        is($cp->session($id)->{$id}, $bad{$name}, "bad state, $name: is kept");
        logs($nginx, qr/\[error\] .*$id/, "bad state, $name: in the log");
    }

    # what others can see of an id in the path

    my $odd = "a b/../c?d#e%41\x{e9}+;=\@";
    $cp->session(bytes($odd), {});
    $cp->forget;
    run($nginx, 'counter', $odd);
    like($_->{target}, qr{^/sessions/a%20b%2F\.\.%2Fc%3Fd%23e%2541%C3%A9%2B%3B
        %3D%40/state$}x, 'an id is one part of the path') for $cp->requests;

    # side by side: key by key, whenever they end

    for my $case (['one after the other', 40], ['at once', 0]) {
        my ($name, $ms) = @$case;
        my $id = "many-$ms";
        $cp->session($id, { $id => python($id, { old => '1' }) });
        $cp->answer(path($id), delay => 0.02);
        my @ids = map { submit($nginx, 'session', $id, { ms => 400 + $_ * $ms,
            set => { "k$_" => $_ } }, publish => 1) } 1 .. 12;
        outcome($_) for @ids;
        is_deeply(globals_of($id), { old => 1, map { ("k$_" => $_) } 1 .. 12 },
            "12 tasks, $name: all keys are there");
        $cp->heal;
    }

    # a run that waits

    $cp->session('asked', {});
    my $asked = submit($nginx, 'session', 'asked', { ask => 1,
        set => { a => 1, b => 1 } });
    wait_for { task($nginx, 'session', $asked)->{status} eq 'waiting' } 5,
        'a run that waits';
    run($nginx, 'session', 'asked', { set => { c => 3 } });
    http_post($nginx->url('/session/process_message'),
        human_response($asked, 'yes'));
    is(value(outcome($asked)), 'true', 'a run that waited');
    is_deeply(globals_of('asked'), { a => 1, b => 1, c => 3, said => 'yes' },
        'keeps what others set');

    # a run that fails does not poison the session

    $cp->session('failed', { failed => python('failed', { a => '1' }) });
    is(run($nginx, 'session', 'failed', { fail => 1 })->{data}{status},
        'failed', 'a failed run');
    my $next = run($nginx, 'session', 'failed', { get => ['a'] });
    is_deeply([value($next), $next->{streamed}], ['{"a":1}',
        [{ began => JSON::PP::true }, { result => { a => 1 } }]],
        'the next one is sound');

    # large

    $cp->session('large', {});
    run($nginx, 'session', 'large', { fill => 6_000_000 });
    run($nginx, 'session', 'large', { set => { a => 1 } });
    cmp_ok(length $cp->session('large')->{large}, '>', 6_000_000,
        'six megabytes');
    result_is('{"a":1}', 'and on', $nginx, 'session', 'large',
        { get => ['a'] });

    once('control plane');
    ended($nginx);
    $cp->asked(qr/deregister/);
    $cp->forget;
}

# Failures.

{
    my $nginx = nginx($plane);
    my $counter = sub { submit($nginx, 'counter', @_) };

    # saving: the result is told all the same

    my %how = (
        'not known' => [{}, qr/404/],
        '500' => [{ status => 500, body => '{"detail":"No"}' }, qr/500/],
        '422' => [{ status => 422, body => '{"detail":[]}' }, qr/422/],
        redirect => [{ status => 307, body => '', headers => {
            location => $cp->url . '/services' } }, qr/307/],
        closed => [{ close => 1 }, qr/./],
        'no answer' => [{ hold => 1 }, qr/time/i],
    );

    for my $name (sort keys %how) {
        my ($how, $like) = @{ $how{$name} };
        my $id = "save-$name" =~ s/\W/-/gr;

        if (%$how) {
            $cp->session($id, { $id => python($id, { count => '1' }) });
            $cp->answer(post_of($id), %$how);
        }

        my $outcome = run($nginx, 'counter', $id);
        my $session = delete $outcome->{data}{session};
        my $result = %$how ? 2 : 1;
        is_deeply([@$outcome{qw(result data)}], [$result,
            { status => 'completed', result => $result }],
            "not saved, $name: the result");
        is_deeply([$session->{saved}, keys %$session > 1],
            [JSON::PP::false, 1], "not saved, $name: and that it is not");
        like($session->{error} // '', $like, "not saved, $name: and why");
        logs($nginx, qr/\[(?:warn|error)\] .*$id/,
            "not saved, $name: in the log");
        $cp->heal;
        $cp->release(close => 1);
    }

    # loading: tried again, and then an error

    for my $case (['500', { status => 500 }, qr/500/],
        ['closed', { close => 1 }, qr/./], ['no answer', { hold => 1 },
        qr/time/i], ['no JSON', { body => '<html>' }, qr/./],
        ['a list', { body => '[]' }, qr/./])
    {
        my ($name, $how, $like) = @$case;
        my $id = "load-$name" =~ s/\W/-/gr;
        $cp->session($id, {});
        $cp->forget;
        $cp->answer(get_of($id), %$how);
        my $task = submit($nginx, 'session', $id, { set => { a => 1 } });
        my $outcome = outcome($task, 20);
        is($outcome->{data}{status}, 'failed', "not loaded, $name: fails");
        like($outcome->{data}{error}{message}, $like,
            "not loaded, $name: says why");
        is_deeply($outcome->{streamed}, [{ result => undef }],
            "not loaded, $name: is not run");
        is_deeply($cp->session($id), {}, "not loaded, $name: nor saved");
        logs($nginx, qr/\[(?:warn|error)\] .*\b$task\b/,
            "not loaded, $name: in the log");
        is(scalar($cp->requests(get_of($id))), 2,
            "not loaded, $name: each attempt asks") if $how->{status};

        # once only

        $cp->heal;
        $cp->release(close => 1);
        next if !$how->{status} && !$how->{close};
        $cp->answer(get_of($id), %$how, times => 1);
        my $again = submit($nginx, 'session', $id, { set => { a => 1 } });
        is(outcome($again)->{data}{status}, 'completed',
            "not loaded at first, $name: completes");
        is_deeply(globals_of($id), { a => 1 },
            "not loaded at first, $name: and is saved");
    }

    # nobody is there

    $cp->session('down', {});
    $cp->down;
    my $outcome = run($nginx, 'counter', 'down');
    is($outcome->{data}{status}, 'failed', 'down: an error');
    $cp->up;
    result_is(1, 'up again', $nginx, 'counter', 'down');
    result_is(1, 'a session of nobody', $nginx, 'counter', undef);

    # a task that is cancelled while it waits for its session

    $cp->session('slow', {});
    $cp->answer(get_of('slow'), hold => 1);
    $cp->forget;
    my $task = submit($nginx, 'session', 'slow', { set => { a => 1 } });
    $cp->asked(get_of('slow'));
    my $start = time;
    is(http_get($nginx->url('/session/'))->{status}, 200, 'loading: GET');
    cmp_ok(time - $start, '<', 0.5, 'loading: is answered at once');
    is(HTTP::Tiny->new->delete($nginx->url("/session/tasks/$task"))->{status},
        202, 'loading: DELETE');
    is(outcome($task)->{data}{status}, 'cancelled', 'loading: cancelled');
    $cp->heal;
    $cp->release;
    take(0.3);
    is($seen{$task}{completed}, 1, 'loading: cancelled, once');
    is(began($task), 0, 'loading: cancelled, and not run');
    is_deeply($cp->session('slow'), {}, 'loading: cancelled, nothing is saved');
    result_is('{}', 'loading: the session is as it was', $nginx, 'session',
        'slow', { get => ['a'] });

    once('failures');
    ended($nginx);
}

# Workers that die or leave while they load and save.

{
    my $nginx = nginx($plane =~ s/timeout 1s/timeout 2s/r
        . 'lease 5s; drain_timeout 500ms;');
    my $hold = sub {
        my ($what, $id) = @_;
        $cp->session($id, { $id => python($id, { log => '[]' }) });
        $cp->answer($what eq 'load' ? get_of($id) : post_of($id), hold => 1);
        $cp->forget;
        my $task = submit($nginx, 'session', $id, { add => 'log' });
        $cp->asked($what eq 'load' ? get_of($id) : post_of($id));
        return $task;
    };

    for my $what (qw(load save)) {
        my $id = "killed-$what";
        my $task = $hold->($what, $id);
        my ($pid) = task_in($r, 'session', $task)->{worker}
            =~ /-(\d+)-\w+$/;
        kill 'KILL', $pid;
        $cp->heal;
        $cp->release(close => 1);
        is(outcome($task, 20)->{data}{status}, 'completed',
            "killed, $what: the task ends");
        is_deeply(globals_of($id), { log => [$task] }, "killed, $what: saved");
        wait_for { $nginx->workers == 2 } 10, 'a new worker';
    }

    for my $what (qw(load save)) {
        my $id = "reload-$what";
        my $task = $hold->($what, $id);
        my %old = map { $_ => 1 } $nginx->workers;
        $nginx->signal('HUP');
        wait_for { 2 == grep { !$old{$_} } $nginx->workers } 10, 'new workers';
        $cp->heal;
        $cp->release;
        is(outcome($task, 20)->{data}{status}, 'completed',
            "reload, $what: the task ends");
        my $log = globals_of($id)->{log};
        is_deeply([sort { $a cmp $b } @$log], [($task) x @$log],
            "reload, $what: saved");
        wait_for { !grep { $old{$_} } $nginx->workers } 10, 'old ones to end';
    }

    for my $what (qw(load save)) {
        my $id = "quit-$what";
        my $task = $hold->($what, $id);
        my $start = time;
        is($nginx->stop, 0, "quit, $what: nginx ends");
        cmp_ok(time - $start, '<', 10, "quit, $what: in time");
        $cp->heal;
        $cp->release(close => 1);
        $nginx->start;
        my $outcome = outcome($task, 20);
        my $unsaved = exists $outcome->{data}{session};
        is($outcome->{data}{status}, 'completed', "quit, $what: the task ends");
        is_deeply(globals_of($id), { log => $unsaved ? [] : [$task] },
            "quit, $what: saved, or it says that it is not");
    }

    my $task = $hold->('load', 'term');
    my $start = time;
    is($nginx->stop('TERM'), 0, 'term: nginx ends');
    cmp_ok(time - $start, '<', 5, 'term: soon');
    $cp->heal;
    $cp->release(close => 1);
    $nginx->start;
    is(outcome($task, 20)->{data}{status}, 'completed', 'term: the task ends');
    is_deeply(globals_of('term'), { log => [$task] }, 'term: saved');

    once('leaving');
    ended($nginx, $killed);
}

done_testing;
