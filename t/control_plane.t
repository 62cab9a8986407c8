# Services are at home with a control plane: they register once they can be
# reached, stay registered whatever happens, and leave when they do; and one
# that is away, slow or wrong does no harm.

use strict;
use warnings;

use File::Temp;
use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::ControlPlane;

my $redis = Workflow::Redis->new;

my $register = qr{^POST /services/register$};
my $deregister = qr{^POST /services/deregister\?service_name=echo$};

# Notes with a registration which of the service's topics were subscribed to
# just then.

sub control_plane {
    return Workflow::ControlPlane->new(watch => sub {
        my ($request) = @_;
        return if $request->{target} ne '/services/register';
        my $name = from_json($request->{body})->{service_name};
        return join ' ', sort grep { /\.\Q$name\E$/ }
            $redis->client->pubsub('CHANNELS');
    }, @_);
}

sub conf {
    my ($cp, %options) = @_;
    my $url = ref $cp ? $cp->url : $cp;
    my $plane = $cp ? "control_plane $url;" : '';
    my $queue = $options{queue} // 'topic_namespace llama_deploy;';
    my $service = $options{service} // 'register_interval 1s;';
    return <<"HTTP";
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $redis->url ]}; $queue }
workflow_service echo {
    workflow echo; queue tasks; host 127.0.0.1; port \@PORT\@;
    $plane $service
}
@{[ $options{http} // '' ]}
HTTP
}

my $mark = 0;

sub nginx {
    my ($cp, %options) = @_;
    $mark = 0;
    return Workflow::Nginx->new(http => conf($cp, %options),
        locations => 'location / { workflow_pass echo; }', %{
            $options{nginx} // {} });
}

sub ended {
    my ($nginx, @expected) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok(@expected);
}

# What nginx logs from here on.

sub mark { $mark = length $_[0]->log }
sub logged { return substr $_[0]->log, $mark }

sub logs {
    my ($nginx, $like, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(eval { wait_for { logged($nginx) =~ $like } 10 }, $name)
        || diag(logged($nginx));
}

# Until it is registered, anew.

sub registered {
    my ($cp, $seconds) = @_;
    $cp->up;
    return eval { wait_for { $cp->services->{echo} } $seconds // 10; 1 };
}

my $n = 0;

# A task by HTTP and one by Pub/Sub.

sub serves {
    my ($nginx, $name, $namespace) = @_;
    $namespace //= 'llama_deploy';
    my $inbox = $redis->inbox("$namespace.control_plane");
    my $start = time;
    my $status = http_get($nginx->url('/'))->{status};
    my $took = time - $start;
    my @ids = map { 'task-' . ++$n } 1, 2;
    my %result;

    http_post($nginx->url('/process_message'),
        new_task($ids[0], { arg1 => 'x' }));
    $redis->redis->publish("$namespace.echo",
        new_task($ids[1], { arg1 => 'y' }));

    while (keys %result < 2) {
        my $m = eval { $inbox->json(5) } // last;
        $result{ $m->{data}{task_id} } = $m->{data}{result}
            if $m->{action} eq 'completed_task';
    }

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is("$status @result{@ids}", '200 x_result y_result',
        "$name: GET and tasks work");
    cmp_ok($took, '<', 1, "$name: GET is answered at once");
}

# The process at the other end of a connection.

sub owner {
    my ($port, @pids) = @_;
    my $hex = sprintf '%04X', $port;
    open my $file, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";
    my ($inode) = map { $_->[9] } grep { $_->[1] =~ /:$hex$/
        && $_->[3] eq '01' }    # an older one may be in TIME_WAIT
        map { [split] } <$file>;

    for my $pid (@pids) {
        return $pid if grep { (readlink // '') eq "socket:[$inode]" }
            glob "/proc/$pid/fd/*";
    }

    die "nobody has port $port\n";
}


# Registration: by one worker at a time, when it has subscribed, with all that
# is asked for; again and again, over connections that are kept.

{
    my $cp = control_plane();
    my $nginx = nginx($cp, service => 'register_interval 300ms;');
    my @requests = $cp->asked($register, 8);

    is_deeply(from_json($requests[0]{body}), { service_name => 'echo',
        description => 'A service that wraps a workflow.', prompt => [],
        host => '127.0.0.1', port => $nginx->port }, 'what is registered');
    like($requests[0]{body}, qr/"port"\s*:\s*\d/, 'the port is a number');
    is($requests[0]{headers}{'content-type'}, 'application/json', 'as JSON');
    is($requests[0]{watched}, 'llama_deploy.echo',
        'when tasks can be received');
    is($_->{body}, $requests[0]{body}, 'the same again')
        for @requests[1 .. 7];

    my %connections = map { $_->{connection} => 1 } @requests;
    cmp_ok(scalar(keys %connections), '<=', 2, 'connections are kept');
    is(scalar(grep { $_->{target} !~ m{^/services/register$} }
        $cp->requests), 0, 'and nothing else is asked');

    for my $i (1 .. 7) {
        my $gap = $requests[$i]{time} - $requests[$i - 1]{time};
        ok($gap > 0.15 && $gap < 2, 'by one worker in register_interval: '
            . sprintf '%.2f s', $gap);
    }

    serves($nginx, 'registered');

    # the connection is closed meanwhile

    $cp->close_idle;
    ok(registered($cp), 'over a new connection, when it was closed');
    unlike($nginx->log, qr/\[(?:error|warn)\]/, 'without a word');

    ended($nginx);
}

# The default interval is long; without description, host and port.

{
    my $cp = control_plane();
    my $nginx = nginx($cp, service => '',
        http => "workflow_load \@PLUGINS\@/ask.so;\nworkflow_service plain {"
            . " workflow ask; queue tasks; control_plane @{[ $cp->url ]}/;"
            . ' description "Says \"hej\" to Zoë."; }');
    my @requests = $cp->asked($register, 2);
    my ($plain) = grep { $_->{service_name} eq 'plain' }
        map { from_json($_->{body}) } @requests;
    my $description = "Says \"hej\" to Zo\x{eb}.";

    is_deeply($plain, { service_name => 'plain', prompt => [], host => undef,
        description => $description, port => undef }, 'no host and port');
    sleep 0.5;
    is(scalar($cp->requests), 2, 'register_interval is longer by default');
    is($nginx->stop, 0, 'nginx ends');
    is(scalar($cp->requests(qr/deregister/)), 2, 'both deregister');
    is_deeply($cp->services, {}, 'each its own name');
    $nginx->log_ok;
}

# A URL with a user and a path.

{
    my $cp = control_plane();
    $cp->answer(qr{^POST /a/b/}, body => '{"topic_namespace":"llama_deploy"}');
    my $nginx = nginx('http://user:s3cret@127.0.0.1:' . $cp->port . '/a/b/');
    my ($request) = $cp->asked(qr{^POST /a/b/services/register$});
    is($request->{headers}{authorization}, 'Basic dXNlcjpzM2NyZXQ=',
        'a user: is told');
    logs($nginx, qr{registered with .*http://127\.0\.0\.1:\d+/a/b\b},
        'a user: the log has the URL');
    ended($nginx);
    unlike($nginx->log, qr/s3cret/, 'a user: and not the password');
    is(scalar($cp->requests(
        qr{^POST /a/b/services/deregister\?service_name=echo$})), 1,
        'a path: begins all of them');
}

# It is not there yet when nginx starts.

{
    my $cp = control_plane(up => 0);
    my $nginx = nginx($cp);
    logs($nginx, qr/\[\w+\] .*workflow_service "echo".*connect/,
        'down at the start: the log says so');
    $redis->subscribed(2, 'llama_deploy.echo');
    serves($nginx, 'down at the start');
    ok(registered($cp), 'registered soon after it is there');
    is(($cp->requests($register))[0]{watched}, 'llama_deploy.echo',
        'and tasks can be received');

    # and is started again

    mark($nginx);
    $cp->down;
    logs($nginx, qr/workflow_service "echo".*connect/, 'down again');
    ok(registered($cp), 'registered again when it was restarted');
    ended($nginx);
}

# The delay between attempts grows, and is not the same for all.

{
    my $cp = control_plane();
    $cp->answer($register, status => 503, body => '{"detail":"Not yet"}');
    my $names = join '', map { "workflow_service echo$_ { workflow echo;"
        . " queue tasks; control_plane @{[ $cp->url ]}; }\n" } 1 .. 3;
    my $nginx = nginx($cp, service => '', http => $names);
    my (%times, %gaps);

    wait_for {
        %times = ();
        push @{ $times{ from_json($_->{body})->{service_name} } }, $_->{time}
            for $cp->requests($register);
        4 == grep { @$_ >= 5 } values %times;
    } 30, 'five attempts of each';

    for my $name (sort keys %times) {
        my @times = @{ $times{$name} };
        my @gaps = map { $times[$_] - $times[$_ - 1] } 1 .. 4;
        $gaps{$name} = \@gaps;
        ok($gaps[2] > $gaps[0] && $gaps[3] > $gaps[1],
            "$name: delays grow: @{[ map { sprintf '%.2f', $_ } @gaps ]}");
    }

    my @last = sort { $a <=> $b } map { $_->[3] } values %gaps;
    cmp_ok($last[-1] - $last[0], '>', 0.1, 'and differ');
    like($nginx->log, qr/\[\w+\] .*workflow_service "echo".*503/,
        'the log says why');
    ended($nginx);
}

# Reloads: one that keeps the service, and ones that do not.

{
    my $cp = control_plane();
    my $other = control_plane();
    my $nginx = nginx($cp);

    $cp->asked($register);
    $nginx->reload for 1, 2;
    $cp->forget;
    ok(registered($cp), 'reload: registered by a new worker');
    is(scalar($cp->requests($deregister)), 0, 'reload: never deregistered');

    # directives that are of no concern

    $nginx->write(http => conf($cp, service => 'timeout 20s;'
        . ' register_interval 1s; description other;'));
    $nginx->reload;
    wait_for { ($cp->services->{echo} // '') =~ /other/ } 10,
        'a description to be told';
    is(scalar($cp->requests($deregister)), 0,
        'another description: registered, and not deregistered');

    # another control plane

    $nginx->write(http => conf($other));
    $nginx->reload;
    $other->asked($register);
    is(scalar($cp->asked($deregister)), 1, 'another URL: deregistered');
    is_deeply($cp->services, {}, 'another URL: at the old one');
    is(scalar($other->requests($deregister)), 0, 'another URL: not at the new');
    serves($nginx, 'another URL');

    # none

    $nginx->write(http => conf(undef, service => ''));
    $nginx->reload;
    is(scalar($other->asked($deregister)), 1,
        'no control_plane any more: deregistered');
    serves($nginx, 'no control_plane any more');

    # again, and then no service

    $cp->forget;
    $nginx->write(http => conf($cp));
    $nginx->reload;
    $cp->asked($register);
    $nginx->write(http => "workflow_load \@PLUGINS\@/ask.so;\n"
        . "workflow_queue tasks { url @{[ $redis->url ]}; }\n"
        . 'workflow_service ask { workflow ask; queue tasks; }',
        locations => 'location / { workflow_pass ask; }');
    $nginx->reload;
    is(scalar($cp->asked($deregister)), 1, 'no service any more: deregistered');
    is_deeply($cp->services, {}, 'no service any more: is known to nobody');

    ended($nginx);
    is(scalar($cp->requests($deregister)), 1, 'once');
}

# A reload with another control plane while a registration is under way: what
# the old workers do late is undone, and does not touch what the new ones do.

{
    my $cp = control_plane();
    my $other = control_plane();
    my $nginx = nginx($cp, service => 'register_interval 300ms;');
    my $url = quotemeta $other->url;

    $cp->asked($register);
    $cp->answer($register, hold => 1);
    $cp->forget;
    $cp->asked($register);
    $nginx->write(http => conf($other, service => 'register_interval 300ms;'));
    $nginx->signal('HUP');
    $other->asked($register, 2);
    $cp->heal;
    $cp->release;
    wait_for { $nginx->workers == 2 } 10, 'the old workers to leave';
    $other->forget;
    $other->asked($register, 3);
    is_deeply($cp->services, {}, 'late: is not listed where it was');
    is(scalar(() = $nginx->log =~ /is registered with .*$url/g), 1,
        'late: the new one is known');
    ended($nginx);
    is(scalar($other->requests($deregister)), 1,
        'late: and from the new one at the end');
    is_deeply($other->services, {}, 'late: is known to nobody');
}

# The end of nginx.

for my $signal (qw(QUIT TERM)) {
    my $cp = control_plane();
    my $nginx = nginx($cp);
    $cp->asked($register);
    $nginx->reload;
    wait_for { $cp->services->{echo} } 5, 'the service';
    is($nginx->stop($signal), 0, "$signal: nginx ends");
    my @requests = $cp->requests(qr/deregister/);
    is(scalar(@requests), 1, "$signal: deregistered, once");
    is($requests[0]{target}, '/services/deregister?service_name=echo',
        "$signal: by a query parameter");
    is_deeply($cp->services, {}, "$signal: is known to nobody");
    $nginx->log_ok;

    # it does not wait for a control plane that is away, or hangs

    for my $case (['away', sub { $cp->down }],
        ['hangs', sub { $cp->answer(qr/deregister/, hold => 1) }])
    {
        my ($name, $do) = @$case;
        $cp->up;
        $nginx = nginx($cp, service => 'control_plane_timeout 500ms;');
        wait_for { $cp->services->{echo} } 5, 'the service';
        $do->();
        my $start = time;
        is($nginx->stop($signal), 0, "$signal, control plane $name: ends");
        cmp_ok(time - $start, '<', 3, "$signal, control plane $name: soon");
        $nginx->log_ok;
    }
}

# QUIT while the namespace is asked for: the worker waits for the answer.

{
    my $cp = control_plane(namespace => 'other');
    $cp->answer($register, hold => 1);
    my $nginx = nginx($cp, queue => '');
    $cp->asked($register);
    $nginx->signal('QUIT');
    logs($nginx, qr/gracefully shutting down/, 'QUIT, learning: it is told');
    $cp->heal;
    $cp->release;
    ended($nginx);
    is_deeply($cp->services, {}, 'QUIT, learning: nothing is listed');
}

# TERM while requests are under way, and others wait for a thread.

for my $case (['slow', delay => 1], ['hangs', hold => 1]) {
    my ($name, @how) = @$case;
    my $cp = control_plane();
    $cp->answer(qr{^GET /sessions/}, @how);
    my $nginx = nginx($cp, nginx => { main => 'thread_pool one threads=1;' },
        service => 'thread_pool one; control_plane_timeout 1m;');
    registered($cp);
    $cp->session("session-$_", {}) for 1 .. 8;
    http_post($nginx->url('/process_message'), new_task("term-$name-$_",
        { arg1 => 'x' }, session_id => "session-$_")) for 1 .. 8;
    $cp->asked(qr{^GET /sessions/});
    my $start = time;
    is($nginx->stop('TERM'), 0, "TERM, sessions, $name: nginx ends");
    cmp_ok(time - $start, '<', 3, "TERM, sessions, $name: soon");
    is(scalar($cp->requests($deregister)), 1,
        "TERM, sessions, $name: deregistered");
    $nginx->log_ok;
    is(scalar(() = $nginx->log =~ /attempt/g), 0,
        "TERM, sessions, $name: no attempt has failed");
    $redis->redis->flushall;
}

# A name server that does not answer: a request takes no longer than it may.

SKIP: {
    skip 'sanitizers have a library before ours', 1
        if ($ENV{TEST_NGINX_BINARY} // '') =~ /\.sh$/;

    my $slow = File::Temp->newdir('workflow-resolver-XXXXXX', TMPDIR => 1);
    chmod 0755, $slow;
    open my $source, '>', "$slow/slow.c" or die "$slow/slow.c: $!";
    print $source <<'SOURCE';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int
getaddrinfo(const char *node, const char *service,
    const struct addrinfo *hints, struct addrinfo **res)
{
    int (*real)(const char *, const char *, const struct addrinfo *,
                struct addrinfo **);

    if (node && strcmp(node, "slow.test") == 0) {
        sleep(30);
        return EAI_AGAIN;
    }

    *(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, res);
}
SOURCE
    close $source;
    system($ENV{CC} // 'cc', qw(-shared -fPIC -o), "$slow/slow.so",
        "$slow/slow.c", '-ldl') == 0 or die 'slow.c does not compile';

    my $start = time;
    my $nginx = nginx('http://slow.test:8000', service =>
        'control_plane_timeout 500ms;', nginx => { env => {
            LD_PRELOAD => "$slow/slow.so" } });
    logs($nginx, qr/\[error\] .*"echo".*time.*trying again/i,
        'a slow name server: control_plane_timeout');
    cmp_ok(time - $start, '<', 8, 'a slow name server: is in force');
    $start = time;
    ended($nginx);
    cmp_ok(time - $start, '<', 8, 'a slow name server: and at the end');
}

# There is no thread for who has the turn to ask: another one asks.

{
    my $cp = control_plane(namespace => 'other');
    my $names = join '', map { "workflow_service echo$_ { workflow echo;"
        . " queue tasks; thread_pool one; control_plane @{[ $cp->url ]};"
        . " control_plane_timeout 1m; }\n" } 1 .. 4;
    $cp->answer($register, hold => 1);
    my $nginx = nginx($cp, queue => '', http => $names, service =>
        'thread_pool one; control_plane_timeout 1m;', nginx => {
            main => 'thread_pool one threads=1 max_queue=1;', workers => 1 });
    logs($nginx, qr/queue overflow/, 'no thread: the log says so');
    $cp->heal;
    $cp->release;
    ok(eval { wait_for { 5 == grep { !/:/ } keys %{ $cp->services } } 10 },
        'no thread: all ask, one after another');
    ended($nginx);
}

# The worker that registered last is killed: others go on.

{
    my $cp = control_plane();
    my $nginx = nginx($cp, service => 'register_interval 300ms;');

    for my $i (1 .. 3) {
        my ($request) = ($cp->asked($register))[-1];
        my $pid = owner($request->{peer}, $nginx->workers);
        $cp->forget;
        kill 'KILL', $pid;
        wait_for { my @now = $nginx->workers;
            @now == 2 && !grep { $_ == $pid } @now } 10, 'a new worker';
        ok(eval { $cp->asked($register, 3) }, "killed, $i: registered on");
    }

    is(scalar($cp->requests(qr/deregister/)), 0, 'killed: not deregistered');
    $cp->forget;
    my @times = map { $_->{time} } $cp->asked($register, 4);
    cmp_ok($times[3] - $times[0], '>', 0.45, 'killed: by one at a time');
    serves($nginx, 'killed');
    ended($nginx, qr/exited on signal 9/);
    is(scalar($cp->requests($deregister)), 1, 'killed: deregistered, once');
}

# Two nginxes, and a binary upgrade: who is left is registered.

{
    my $cp = control_plane();
    my $first = nginx($cp);
    my $second = nginx($cp, nginx => { daemon => 1 });
    my %ports;

    wait_for {
        $ports{ from_json($_->{body})->{port} } = 1
            for $cp->requests($register);
        keys %ports == 2;
    } 10, 'both to register';
    ended($first);
    ok(eval { wait_for { $cp->services->{echo} } 5 },
        'two nginxes: the one that is left is registered');

    $second->upgrade;
    ok(eval { wait_for { $cp->services->{echo} } 5 },
        'upgrade: registered');
    serves($second, 'upgrade');
    ended($second);
    is_deeply($cp->services, {}, 'upgrade: and deregistered at the end');
}

# The control plane says which topics are its own.

{
    my $cp = control_plane(namespace => 'other', up => 0);
    my $nginx = nginx($cp, queue => '');
    my $r;

    logs($nginx, qr/workflow_service "echo".*connect/,
        'namespace unknown: the log says why');
    $r = http_post($nginx->url('/process_message'),
        new_task('early', { arg1 => 'x' }));
    is($r->{status}, 503, 'namespace unknown: 503');
    ok($r->{headers}{'retry-after'}, 'namespace unknown: Retry-After');
    is(http_get($nginx->url('/'))->{status}, 200, 'namespace unknown: GET /');
    is(http_get($nginx->url('/tasks/early'))->{status}, 503,
        'namespace unknown: GET tasks/ID');
    is_deeply([grep { /echo|control_plane|worker/ }
        $redis->redis->pubsub('CHANNELS')], [],
        'namespace unknown: no channel is listened to');

    $cp->up;
    wait_for { $cp->services->{echo} } 10, 'the service';
    my @requests = $cp->requests($register);
    my ($own) = grep { from_json($_->{body})->{service_name} eq 'echo' }
        @requests;
    is($own->{watched}, 'other.echo',
        'the topic is listened to when the service registers');

    # whatever name it asked by is gone

    is_deeply([keys %{ $cp->services }], ['echo'], 'and has no other name');
    $redis->subscribed(2, 'other.echo');
    serves($nginx, 'namespace', 'other');
    is($redis->redis->exists('{other.echo}:task:task-' . $n), 1,
        'namespace: keys have it');
    is($redis->redis->exists('{other.echo}:task:early'), 0,
        'namespace: what was refused is not there');

    # it is kept, whoever asks

    $cp->down;
    $nginx->reload;
    $redis->subscribed(2, 'other.echo');
    serves($nginx, 'namespace, reload without control plane', 'other');
    kill 'KILL', ($nginx->workers)[0];

    # what the killed one has subscribed to may still be counted

    wait_for {
        my @channels = $redis->redis->pubsub('CHANNELS', 'other:worker:*');
        my @pids = $nginx->workers;
        @pids == 2 && !grep { my $pid = $_; !grep { /-$pid-\w+$/ } @channels }
            @pids;
    } 10, 'a new worker that listens';
    serves($nginx, 'namespace, new worker without control plane', 'other');

    # it changes

    mark($nginx);
    $cp->set(namespace => 'third');
    ok(registered($cp), 'another namespace: registered');
    logs($nginx, qr/\[(?:warn|error)\] .*"?third\b.*/,
        'another namespace: the log says so');
    serves($nginx, 'another namespace: the first one is kept', 'other');
    ended($nginx, qr/exited on signal 9/);
}

# The namespace of nginx.conf goes before.

{
    my $cp = control_plane(namespace => 'other');
    my $nginx = nginx($cp, queue => 'topic_namespace mine;');
    ok(registered($cp), 'two namespaces: registered');
    logs($nginx, qr/\[(?:warn|error)\] .*other\b/,
        'two namespaces: the log says so');
    is(($cp->requests($register))[0]{watched}, 'mine.echo',
        'two namespaces: nginx.conf\'s is used');
    serves($nginx, 'two namespaces', 'mine');
    $cp->forget;
    $cp->asked($register, 4);
    cmp_ok(scalar(() = $nginx->log =~ /\[(?:warn|error)\] .*other\b/g), '<=', 2,
        'two namespaces: each worker says so once');
    is(scalar($cp->requests(qr/deregister/)), 0, 'two namespaces: no probe');
    ended($nginx);
}

# Two control planes with a namespace each, on one Redis and one queue.

{
    my @cps = map { control_plane(namespace => $_) } qw(left right);
    my $nginx = nginx($cps[0], queue => '', http => <<"HTTP",
workflow_service right {
    workflow echo; queue tasks; control_plane @{[ $cps[1]->url ]}; }
workflow_service alone { workflow echo; queue tasks; }
HTTP
        nginx => { locations => join '', map { "location /$_/ {"
            . " workflow_pass $_; }\n" } qw(echo right alone) });
    my %service = (left => 'echo', right => 'right', llama_deploy => 'alone');

    $redis->subscribed(2, map { "$_.$service{$_}" } keys %service);

    for my $namespace (sort keys %service) {
        my $inbox = $redis->inbox("$namespace.control_plane");
        my $service = $service{$namespace};
        my @ids = map { 'task-' . ++$n } 1, 2;
        is(http_post($nginx->url("/$service/process_message"),
            new_task($ids[0], { arg1 => 'x' }))->{status}, 200,
            "$namespace: accepted");
        is(($inbox->task($ids[0]))[-1]{data}{result}, 'x_result',
            "$namespace: a result");
        $redis->redis->publish("$namespace.$service",
            new_task($ids[1], { arg1 => 'x' }));
        is(($inbox->task($ids[1]))[-1]{data}{result}, 'x_result',
            "$namespace: by Pub/Sub");
    }

    ended($nginx);
}

# The name that was asked by is withdrawn later, when it cannot be at once: with
# a registration, or at the end.

{
    my $probe = qr/deregister\?service_name=echo%3Anamespace$/;
    my $cp = control_plane(namespace => 'other');
    $cp->answer($probe, status => 503, body => '', times => 1);
    my $nginx = nginx($cp, queue => '');
    ok(registered($cp), 'the name is not withdrawn: registered');
    ok(eval { $cp->asked($probe, 2) }, 'and then it is withdrawn');
    ok(eval { wait_for { 'echo' eq join ' ', keys %{ $cp->services } } 5 },
        'and gone');
    $cp->forget;
    $cp->asked($register, 2);
    is(scalar($cp->requests($probe)), 0, 'once');
    ended($nginx);

    for my $signal (qw(QUIT TERM)) {
        $cp->answer($probe, status => 503, body => '', times => 1)
            if $signal eq 'QUIT';
        $cp->answer($register, hold => 1);
        $cp->forget;
        $cp->up;
        $nginx = nginx($cp, queue => '');
        $cp->asked($register);

        if ($signal eq 'QUIT') {
            $nginx->signal('QUIT');
            logs($nginx, qr/gracefully shutting down/, "$signal: it is told");
            $cp->release;
        }

        is($nginx->stop($signal), 0, "$signal: nginx ends");
        is_deeply($cp->services, {}, "$signal: nothing is listed");
        ok(scalar($cp->requests($probe)), "$signal: nothing is left");
        $nginx->log_ok;
        $cp->heal;
    }
}

# Services that have to ask do not keep others of their queue waiting.

{
    my @cps = map { control_plane(namespace => $_, up => 0) } qw(left right);
    my $locations = join '', map { "location /$_/ { workflow_pass $_; }\n" }
        qw(echo right alone);
    my $nginx = nginx($cps[0], queue => '', http => <<"HTTP",
workflow_service right {
    workflow echo; queue tasks; control_plane @{[ $cps[1]->url ]};
    register_interval 1s; }
workflow_service alone { workflow echo; queue tasks; step_interval 10s; }
HTTP
        nginx => { locations => $locations });

    my $post = sub {
        my ($service, $id) = @_;
        return http_post($nginx->url("/$service/process_message"),
            new_task($id, { arg1 => 'x' }))->{status};
    };

    my $works = sub {
        my ($namespace, $service) = @_;
        my $inbox = $redis->inbox("$namespace.control_plane");
        my @ids = map { 'task-' . ++$n } 1, 2;
        is($post->($service, $ids[0]), 200, "$service: accepted");
        is(($inbox->task($ids[0]))[-1]{data}{result}, 'x_result',
            "$service: a result");
        $redis->redis->publish("$namespace.$service",
            new_task($ids[1], { arg1 => 'y' }));
        is(($inbox->task($ids[1]))[-1]{data}{result}, 'y_result',
            "$service: by Pub/Sub");
    };

    ok(eval { $redis->subscribed(2, 'llama_deploy.alone'); 1 },
        'nobody has been told: the other one is served') || diag $@;
    $works->('llama_deploy', 'alone');
    is($post->($_, 'early'), 503, "$_: 503") for qw(echo right);
    is(http_get($nginx->url("/$_/tasks/early"))->{status}, 503,
        "$_: GET tasks/ID") for qw(echo right);

    for my $case (['left', 'echo', $cps[0]], ['right', 'right', $cps[1]]) {
        my ($namespace, $service, $cp) = @$case;
        $cp->up;
        wait_for { $cp->services->{$service} } 10, 'the service';
        my ($own) = grep { from_json($_->{body})->{service_name} eq $service }
            $cp->requests($register);
        is($own->{watched}, "$namespace.$service",
            "$service: registered when its topic is listened to");
        $redis->subscribed(2, "$namespace.$service");
        $works->($namespace, $service);
        $works->('llama_deploy', 'alone');
    }

    $nginx->reload;
    $redis->subscribed(2, qw(left.echo right.right llama_deploy.alone));
    $works->('left', 'echo');
    is(scalar(grep { $_->{target} =~ /=(?:echo|right)$/ }
        map { $_->requests(qr/deregister/) } @cps), 0, 'and stay listed');
    ended($nginx);
    is_deeply($_->services, {}, 'until the end') for @cps;
}

# Wrong answers.

{
    my $cp = control_plane();
    my $elsewhere = control_plane();
    my $nginx = nginx($cp, service => 'register_interval 300ms;'
        . ' control_plane_timeout 1s;');
    my $says = qr/\[(?:error|warn)\] .*workflow_service "echo" /;
    my $url = $elsewhere->url;

    $cp->asked($register);

    for my $case (
        ['400', { status => 400, body => '{"detail":"No"}' }, qr/400/],
        ['422', { status => 422, body => '{"detail":[]}' }, qr/422/],
        ['500', { status => 500, body => 'Internal Server Error' }, qr/500/],
        ['no text', { status => 500, body => "\x00\xff\n\e[31m" }, qr/500/],
        ['two lines', { status => 500, body => to_json({ detail =>
            "one\n2026/01/01 [alert] two\r\e[31m" }) }, qr/500/],
        ['a redirect', { status => 307, body => '', headers => {
            location => "$url/services/register" } }, qr/307/],
        ['a moved one', { status => 301, body => '', headers => {
            location => "$url/services/register" } }, qr/301/],
        ['no JSON', { body => '<html>Login</html>' }, qr/JSON|answer/],
        ['an array', { body => '[]' }, qr/answer/],
        ['null', { body => 'null' }, qr/answer/],
        ['no namespace', { body => '{}' }, qr/namespace|answer/],
        ['a number', { body => '{"topic_namespace":1}' },
            qr/namespace|answer/],
        ['a wild one', { body => '{"topic_namespace":"a b\r\n*"}' },
            qr/namespace|answer/],
        ['a large one', { huge => 64 << 20 }, qr/bytes|large/],
        ['no answer', { hold => 1 }, qr/timed out|time/i],
        ['no end', { cut => 80 }, qr/closed|transfer|bytes/i],
        ['nothing', { close => 1 }, qr/empty|closed|reply/i])
    {
        my ($name, $how, $like) = @$case;
        mark($nginx);
        $cp->answer($register, %$how);
        logs($nginx, qr/$says.*(?:$like)/, "$name: the log says so");
        serves($nginx, $name);
        unlike(logged($nginx), qr/[^\x20-\x7e\n]/, "$name: the log is text");
        $cp->heal;
        $cp->release;
        ok(registered($cp, 20), "$name: registered later");
    }

    is(scalar($elsewhere->requests), 0, 'redirects are not followed');

    # it hangs for long: nothing else does

    $nginx->write(http => conf($cp, service => 'register_interval 300ms;'
        . ' control_plane_timeout 10s;'));
    $nginx->reload;
    $cp->answer($register, hold => 1);
    $cp->forget;
    $cp->asked($register);
    serves($nginx, 'it hangs');
    is(scalar($cp->requests($register)), 1, 'it hangs: asked once');
    $cp->heal;
    $cp->release;
    ok(registered($cp), 'it hangs no more: registered');

    # and then nginx is told to leave

    $cp->answer($register, hold => 1);
    $cp->forget;
    $cp->asked($register);
    ended($nginx);
}

# The same while the namespace is asked for.

{
    my $cp = control_plane(namespace => 'other');
    $cp->answer(qr/./, status => 500, body => '');
    my $nginx = nginx($cp, queue => '');
    my @bodies = ('{}', 'null', '{"topic_namespace":""}',
        '{"topic_namespace":"a b"}', '{"topic_namespace":null}',
        to_json({ topic_namespace => 'x' x 200 }));

    logs($nginx, qr/workflow_service "echo".*500/,
        'namespace, 500: the log says so');

    for my $body (@bodies) {
        mark($nginx);
        $cp->answer($register, body => $body);
        logs($nginx, qr/\[error\] .*"echo".*(?:namespace|answer)/,
            'namespace, ' . substr($body, 0, 30) . ': the log says so');
        is(http_post($nginx->url('/process_message'),
            new_task('early', {}))->{status}, 503, 'and tasks are refused');
    }

    $cp->heal;
    $redis->subscribed(2, 'other.echo');
    serves($nginx, 'namespace at last', 'other');
    ended($nginx);
}


# https

my $dir = File::Temp->newdir('workflow-plane-XXXXXX', TMPDIR => 1);
chmod 0755, $dir;

sub openssl {
    my (@arguments) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $dir;
        open STDOUT, '>>', "$dir/openssl.log";
        open STDERR, '>&', \*STDOUT;
        exec 'openssl', @arguments;
    }
    waitpid $pid, 0;
    die "openssl @arguments" if $?;
}

sub certificate {
    my ($name, $san) = @_;
    openssl(qw(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes
        -subj), "/CN=$name", '-keyout', "$name.key", '-out', "$name.csr");
    open my $ext, '>', "$dir/$name.ext" or die "$dir/$name.ext: $!";
    print $ext "subjectAltName=$san\n";
    close $ext;
    openssl(qw(x509 -req -days 2 -CA ca.crt -CAkey ca.key -CAcreateserial -in),
        "$name.csr", '-out', "$name.crt", '-extfile', "$name.ext");
}

sub pair {
    my ($certificate, $key) = @_;
    return 'control_plane https://127.0.0.1;'
        . " control_plane_ssl_certificate $dir/$certificate;"
        . " control_plane_ssl_certificate_key $dir/$key;";
}

SKIP: {
    skip 'no openssl to make certificates with', 1
        if !grep { -x "$_/openssl" } split /:/, $ENV{PATH};

    for my $ca (qw(ca stranger)) {
        openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
            -nodes -days 2 -subj), "/CN=$ca", '-keyout', "$ca.key", '-out',
            "$ca.crt");
    }

    certificate('plane', 'IP:127.0.0.1');
    certificate('other', 'DNS:other.test');
    certificate('client', 'DNS:client');
    openssl(qw(ec -aes128 -passout pass:secret -in client.key -out locked.key));

    # what only the master can read

    chmod 0600, glob "$dir/*.key";
    chmod 0600, "$dir/client.crt";

    my $cp = control_plane(namespace => 'tls');
    my %front = (
        plain => $cp->secure("ssl_certificate $dir/plane.crt;"
            . " ssl_certificate_key $dir/plane.key;"),
        other => $cp->secure("ssl_certificate $dir/other.crt;"
            . " ssl_certificate_key $dir/other.key;"),
        strict => $cp->secure("ssl_certificate $dir/plane.crt;"
            . " ssl_certificate_key $dir/plane.key; ssl_verify_client on;"
            . " ssl_client_certificate $dir/ca.crt;"),
    );

    my $ca = "control_plane_ssl_trusted_certificate $dir/ca.crt;";
    my $pair = "control_plane_ssl_certificate $dir/client.crt;"
        . " control_plane_ssl_certificate_key $dir/client.key;";

    for my $case (['verified', 'plain', $ca],
        ['a client certificate', 'strict', "$ca $pair"],
        ['not verified', 'plain', 'control_plane_ssl_verify off;'],
        ['name not verified', 'other', 'control_plane_ssl_verify off;'])
    {
        my ($name, $front, $service) = @$case;
        my $nginx = nginx($front{$front}{tls_url}, service => $service,
            queue => 'topic_namespace tls;');
        ok(registered($cp), "https, $name: registered")
            || diag($nginx->log);
        unlike($nginx->log, qr/\[(?:warn|error)\]/,
            "https, $name: without a word");
        ended($nginx);
        is_deeply($cp->services, {}, "https, $name: deregistered");
    }

    for my $case (
        ['another authority', 'plain',
            "control_plane_ssl_trusted_certificate $dir/stranger.crt;",
            qr/certificate/i],
        ['the authorities of the system', 'plain', '', qr/certificate/i],
        ['another name', 'other', $ca, qr/certificate|name|subject/i],
        ['no client certificate', 'strict', $ca, qr/400|certificate/i])
    {
        my ($name, $front, $service, $like) = @$case;
        $cp->forget;
        my $nginx = nginx($front{$front}{tls_url}, service => $service,
            queue => 'topic_namespace tls;');
        logs($nginx, qr/\[error\] .*workflow_service "echo".*(?:$like)/,
            "https, $name: the log says so");
        is(scalar($cp->requests), 0, "https, $name: nothing is said");
        serves($nginx, "https, $name", 'tls');
        ended($nginx);
    }

    for my $front (values %front) {
        $front->stop;
        $front->log_ok;
    }
}


# nginx -t

{
    my $plane = 'control_plane http://127.0.0.1:8000;';
    my $tls = 'control_plane https://127.0.0.1:8000;';
    my $wrong = qr/"control_plane" of workflow_service "echo" is wrong/;
    my $without = qr/without a control plane/;
    my $nginx = sub {
        my ($service) = @_;
        return Workflow::Nginx->new(start => 0, http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service echo { workflow echo; queue tasks; $service } # here
HTTP
            locations => 'location / { workflow_pass echo; }');
    };

    for my $case (
        ['control_plane ftp://127.0.0.1;', $wrong],
        ['control_plane 127.0.0.1:8000;', $wrong],
        ['control_plane localhost;', $wrong],
        ['control_plane file:///etc/passwd;', $wrong],
        ['control_plane http://;', $wrong],
        ['control_plane http://:8000;', $wrong],
        ['control_plane http://a:0;', $wrong],
        ['control_plane http://a:65536;', $wrong],
        ['control_plane http://a:8000x;', $wrong],
        ['control_plane http://a/?b=c;', $wrong],
        ['control_plane "http://a/#b";', $wrong],
        ['control_plane "http://a b/";', $wrong],
        ['control_plane "";', qr/"control_plane" without/],
        ['control_plane http://a http://b;', qr/"control_plane"/],
        ["$plane $plane", qr/"control_plane" .*(?:duplicate|twice)/],
        ["$plane register_interval 0;", qr/"register_interval"/],
        ["$plane register_interval 2d;", qr/"register_interval"/],
        ["$plane control_plane_timeout 0;", qr/"control_plane_timeout"/],
        ["$plane control_plane_ssl_verify off;", qr/no TLS/],
        ["$plane control_plane_ssl_trusted_certificate $dir/ca.crt;",
            qr/no TLS/],
        ["$tls control_plane_ssl_trusted_certificate none.crt;",
            qr/none\.crt/],
        ["$tls control_plane_ssl_trusted_certificate /dev/null;",
            qr/control_plane_ssl_trusted_certificate/],
        ["$tls control_plane_ssl_certificate $dir/client.crt;", qr/write both/],
        ["$tls control_plane_ssl_certificate_key $dir/client.key;",
            qr/write both/],
        ["$tls control_plane_ssl_certificate none.crt;"
            . " control_plane_ssl_certificate_key none.key;", qr/none\.crt/],
        -e "$dir/client.crt" ? (
            [pair('client.crt', 'plane.key'), qr/do not belong together/],
            [pair('client.key', 'client.key'),
                qr/the first has no certificate in it/],
            [pair('client.crt', 'client.crt'),
                qr/the second has no private key in it/],
            [pair('client.crt', 'locked.key'), qr/that is not encrypted/],
        ) : (),
        ['register_interval 5s;', $without],
        ['control_plane_timeout 5s;', $without],
        ['control_plane_ssl_verify off;', $without],
        ["control_plane_ssl_trusted_certificate $dir/ca.crt;", $without],
    ) {
        my ($service, $like) = @$case;
        $nginx->($service)->refuses_ok($like, "nginx -t: $service");
    }

    # a password is not repeated

    my ($passed, $text)
        = $nginx->('control_plane ftp://user:s3cret@127.0.0.1;')->test;
    ok(!$passed, 'nginx -t: a bad URL with a password');
    unlike($text, qr/s3cret/, 'nginx -t: is not repeated');

    for my $service ($plane, 'control_plane http://[::1]:8000;',
        'control_plane http://localhost;', 'control_plane http://a.test/b/c/;',
        'control_plane HTTP://127.0.0.1;', 'control_plane http://a:b@c.test;',
        "$tls control_plane_ssl_verify off;")
    {
        $nginx->($service)->passes_ok("nginx -t: $service");
    }
}

done_testing;
