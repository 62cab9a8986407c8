# message_queue_config: the Redis that keeps the tasks is the one that the
# control plane names.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::ControlPlane;

my $redis = Workflow::Redis->new(auth => ['main'], conf => <<'CONF');
user worker on >s3cret/@%: ~* &* +@all
requirepass main
CONF
my $other = Workflow::Redis->new;

sub config {
    my (%values) = @_;
    return to_json({ RedisMessageQueueConfig => { url =>
        'redis://localhost:6379', host => undef, port => undef, db => undef,
        username => undef, password => undef, ssl => undef, %values } });
}

sub url { return 'redis://:main@127.0.0.1:' . $redis->port . ($_[0] // '') }

sub nginx {
    my ($cp, %options) = @_;
    return Workflow::Nginx->new(http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_service echo {
    workflow echo; message_queue_config on; control_plane @{[ $cp->url ]};
    control_plane_timeout 1s; register_interval 500ms; }
@{[ $options{http} // '' ]}
HTTP
        locations => "location / { workflow_pass echo; }\n"
            . ($options{locations} // ''));
}

sub ended {
    my ($nginx, @expected) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok(@expected);
}

sub logs {
    my ($nginx, $like, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(eval { wait_for { $nginx->log =~ $like } 10 }, $name)
        || diag($nginx->log);
}

my $n = 0;

sub post {
    my ($nginx) = @_;
    return http_post($nginx->url('/process_message'),
        new_task('task-' . ++$n, { arg1 => 'x' }));
}

# A task by HTTP and one by Pub/Sub, in this Redis and this database of it.

sub serves {
    my ($nginx, $on, $name, $db) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(eval { $on->subscribed(2, 'llama_deploy.echo'); 1 },
        "$name: subscribed") || return diag($nginx->log);

    my $inbox = $on->inbox('llama_deploy.control_plane');
    is(post($nginx)->{status}, 200, "$name: accepted");
    my $id = "task-$n";
    is(($inbox->task($id))[-1]{data}{result}, 'x_result', "$name: a result");

    my $client = $on->client;
    $client->select($db // 0);
    is($client->exists("{llama_deploy.echo}:task:$id"), 1, "$name: there");

    $id = 'task-' . ++$n;
    $on->redis->publish('llama_deploy.echo', new_task($id, { arg1 => 'y' }));
    is(($inbox->task($id))[-1]{data}{result}, 'y_result',
        "$name: by Pub/Sub");
}

sub unavailable {
    my ($nginx, $name) = @_;
    my $answer = post($nginx);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($answer->{status}, 503, "$name: 503");
    is($answer->{headers}{'retry-after'}, 1, "$name: Retry-After");
    ok(length eval { from_json($answer->{content})->{detail} } // '',
        "$name: and why");
    is(http_get($nginx->url('/tasks/x'))->{status}, 503,
        "$name: GET tasks/x does not work");
    is(http_get($nginx->url('/'))->{status}, 200, "$name: GET / does");
}

# All forms that there are.

for my $case (
    ['a URL', 0, url => url()],
    ['a URL with a database', 4, url => url('/4')],
    ['a user', 0, url => 'redis://worker:s3cret%2F%40%25%3A@127.0.0.1:'
        . $redis->port],
    ['host and port', 2, host => '127.0.0.1', port => $redis->port, db => 2,
        username => 'worker', password => 's3cret/@%:'],
    ['a password alone', 0, host => '127.0.0.1', port => $redis->port,
        db => 0, password => 'main'])
{
    my ($name, $db, %values) = @$case;
    my $cp = Workflow::ControlPlane->new(queue_config => config(%values));
    my $nginx = nginx($cp);
    serves($nginx, $redis, $name, $db);
    ok(eval { wait_for { $cp->services->{echo} } 10 }, "$name: registered");
    unlike($nginx->log, qr/s3cret|main\@/, "$name: no password in the log");
    my @asked = $cp->requests(qr{^GET /queue_config$});
    cmp_ok(scalar(@asked), '<=', 2, "$name: it is not asked again and again");
    ended($nginx);
}

# Several services share what one control plane says; a queue of nginx.conf is
# used beside it.

{
    my $cp = Workflow::ControlPlane->new(queue_config => config(url => url()));
    my $nginx = nginx($cp, http => <<"HTTP",
workflow_queue tasks { url @{[ $other->url ]}; }
workflow_service echo2 {
    workflow echo; message_queue_config on; control_plane @{[ $cp->url ]}; }
workflow_service echo3 { workflow echo; queue tasks; }
HTTP
        locations => join '', map { "location /$_/ { workflow_pass $_; }\n" }
            qw(echo2 echo3));
    $redis->subscribed(2, map { "llama_deploy.$_" } qw(echo echo2));
    $other->subscribed(2, 'llama_deploy.echo3');
    serves($nginx, $redis, 'beside others');

    for my $case (['echo2', $redis], ['echo3', $other]) {
        my ($service, $on) = @$case;
        my $id = 'task-' . ++$n;
        my $inbox = $on->inbox('llama_deploy.control_plane');
        is(http_post($nginx->url("/$service/process_message"),
            new_task($id, { arg1 => 'z' }))->{status}, 200,
            "$service: accepted");
        is(($inbox->task($id))[-1]{data}{result}, 'z_result',
            "$service: a result");
    }

    # three connections of each worker, however many services

    my @clients = grep { !/cmd=client/ } split /\n/,
        $redis->redis->client_list;
    my $mine = grep { / cmd=(?:subscribe|blpop)\b/ } @clients;
    cmp_ok($mine, '<=', 5, 'services of one control plane share connections');
    ended($nginx);
}

# The control plane is not there yet.

{
    my $cp = Workflow::ControlPlane->new(up => 0,
        queue_config => config(url => url()));
    my $nginx = nginx($cp);
    logs($nginx, qr/workflow_service "echo".*connect/, 'down: the log says so');
    unavailable($nginx, 'down');
    $cp->up;
    serves($nginx, $redis, 'up');

    # it goes away again: nothing is lost

    $cp->down;
    $nginx->reload;
    serves($nginx, $redis, 'reloaded while it is down');
    my ($killed) = $nginx->workers;
    kill 'KILL', $killed;
    wait_for { 2 == grep { $_ != $killed } $nginx->workers } 10,
        'a new worker';
    serves($nginx, $redis, 'a new worker while it is down');
    is($nginx->stop, 0, 'nginx ends');
    $nginx->start;
    unavailable($nginx, 'another nginx knows nothing');
    ended($nginx, qr/exited on signal 9/);
}

# Redis is not there yet.

{
    my $late = Workflow::Redis->new;
    my $cp = Workflow::ControlPlane->new(queue_config => config(
        url => $late->url));
    $late->stop;
    my $nginx = nginx($cp);
    logs($nginx, qr/redis 127\S+ .*refused/, 'no Redis: the log says so');
    unavailable($nginx, 'no Redis');
    $late->start;
    serves($nginx, $late, 'Redis');
    $late->stop;
    wait_for { post($nginx)->{status} == 503 } 10, 'Redis to be missed';
    $late->start;
    serves($nginx, $late, 'Redis again');
    ended($nginx);
}

# Answers that are of no use; then one that is.

{
    my $cp = Workflow::ControlPlane->new(queue_config =>
        '{"SimpleMessageQueueConfig":{"host":"127.0.0.1","port":8001,'
        . '"client_kwargs":{},"raise_exceptions":false,"use_ssl":false}}');
    my $asked = qr{^GET /queue_config$};
    my $nginx = nginx($cp);
    logs($nginx, qr/\[error\] .*"echo".*SimpleMessageQueueConfig/, 'a SimpleMessageQueue: the log says so');
    unavailable($nginx, 'a SimpleMessageQueue');

    for my $case (
        ['nothing', { body => '{}' }],
        ['null', { body => 'null' }],
        ['no JSON', { body => '<html>' }],
        ['a list', { body => '[{"RedisMessageQueueConfig":{}}]' }],
        ['an empty one', { body => '{"RedisMessageQueueConfig":{}}' }],
        ['no object', { body => '{"RedisMessageQueueConfig":"redis://a"}' }],
        ['another URL', { body => config(url => 'http://127.0.0.1:1/') }],
        ['no URL', { body => config(url => 'redis://') }],
        ['TLS', { body => config(url => 'rediss://127.0.0.1:6379') },
            qr/asks for TLS|rediss/],
        ['a bad port', { body => config(url => 'redis://a:70000') }],
        ['a bad port number', { body => config(host => 'a', port => 70000) }],
        ['a wild host', { body => config(host => "a b\r\n", port => 6379) }],
        ['an unknown host', { body => config(
            url => 'redis://user:s3cret@no-such-host.invalid:1') }],
        ['404', { status => 404, body => '{"detail":"Not Found"}' }, qr/404/],
        ['500', { status => 500, body => '' }, qr/500/],
        ['a redirect', { status => 307, body => '', headers => {
            location => $cp->url . '/queue_config?x' } }, qr/307/],
        ['a large one', { huge => 256 << 20 }],
        ['no answer', { hold => 1 }, qr/time/i],
        ['no end', { cut => 100 }])
    {
        my ($name, $how, $like) = @$case;
        my $mark = length $nginx->log;
        $like //= qr/./;
        $cp->heal;
        $cp->answer($asked, %$how);
        $cp->release(close => 1);
        ok(eval { wait_for { substr($nginx->log, $mark)
            =~ /\[(?:error|warn)\] .*workflow_service "echo".*$like/ } 20 },
            "$name: the log says so") || diag(substr $nginx->log, $mark);
        is(post($nginx)->{status}, 503, "$name: 503");
        is(http_get($nginx->url('/'))->{status}, 200, "$name: GET / works");
    }

    is(scalar($cp->requests(qr/queue_config\?x/)), 0,
        'redirects are not followed');
    unlike($nginx->log, qr/s3cret/, 'no password in the log');
    is(scalar(grep { $_->{body} =~ /"echo"/ } $cp->requests(qr/register/)), 0,
        'without a queue there is nothing to register');

    $cp->heal;
    $cp->release(close => 1);
    $cp->set(queue_config => config(url => url()));
    $redis->subscribed(2, 'llama_deploy.echo');
    serves($nginx, $redis, 'at last');

    # what it says later is of no concern to those who know

    $cp->set(queue_config => config(url => $other->url));
    $nginx->reload;
    serves($nginx, $redis, 'another queue, reload');
    ended($nginx);

    $nginx->start;
    serves($nginx, $other, 'another queue, restart');
    ended($nginx);
}

# The namespace goes with it.

{
    my $cp = Workflow::ControlPlane->new(namespace => 'theirs',
        queue_config => config(url => url()));
    my $nginx = nginx($cp);
    $redis->subscribed(2, 'theirs.echo');
    my $inbox = $redis->inbox('theirs.control_plane');
    is(post($nginx)->{status}, 200, 'namespace: accepted');
    is(($inbox->task("task-$n"))[-1]{data}{result}, 'x_result',
        'namespace: a result');
    ended($nginx);
}

# nginx -t

{
    my $plane = 'control_plane http://127.0.0.1:8000;';

    for my $case (
        ["queue tasks; message_queue_config on; $plane",
            qr/both "queue" and "message_queue_config/],
        ['message_queue_config on;', qr/message_queue_config.*control_plane/],
        ["message_queue_config off; $plane", qr/has no queue; write/],
        [$plane, qr/has no queue; write/],
        ["message_queue_config maybe; $plane", qr/message_queue_config|"on"/],
    ) {
        my ($service, $like) = @$case;
        my $nginx = Workflow::Nginx->new(start => 0, http =>
            "workflow_load \@PLUGINS\@/echo.so;\nworkflow_queue tasks { }\n"
            . "workflow_service echo { workflow echo; $service } # here\n",
            locations => 'location / { workflow_pass echo; }');
        $nginx->refuses_ok($like, "nginx -t: $service");
    }

    for my $service ("message_queue_config on; $plane",
        "queue tasks; message_queue_config off; $plane")
    {
        my $nginx = Workflow::Nginx->new(start => 0, http =>
            "workflow_load \@PLUGINS\@/echo.so;\nworkflow_queue tasks { }\n"
            . "workflow_service echo { workflow echo; $service }\n",
            locations => 'location / { workflow_pass echo; }');
        $nginx->passes_ok("nginx -t: $service");
    }
}

done_testing;
