# WORKFLOW_SERVICE_*: what stands for directives that are absent.

use strict;
use warnings;

use Test::More;
use Time::HiRes ();
use Workflow;
use Workflow::Plugin;

delete $ENV{$_} for grep { /^WORKFLOW_SERVICE_/ } keys %ENV;

my $redis = Workflow::Redis->new;

# An nginx with one service, "echo" if it has no other name.

sub nginx {
    my ($env, $service, %options) = @_;
    my $block = $service =~ /\{/ ? $service : "echo { $service }";

    return Workflow::Nginx->new(workers => 1,
        env => { map { ("WORKFLOW_SERVICE_$_" => $env->{$_}) } keys %$env },
        locations => 'location / { workflow_pass echo; }', %options,
        http => <<"HTTP");
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/sleeper.so;
workflow_load \@PLUGINS\@/flaky.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service $block # here
HTTP
}

sub status {
    my ($nginx) = @_;
    return from_json(http_get($nginx->url('/'))->{content});
}

sub task {
    my ($nginx, $id) = @_;
    return from_json(http_get($nginx->url("/tasks/$id"))->{content});
}

sub submit {
    my ($nginx, $id, $input) = @_;
    my $r = http_post($nginx->url('/process_message'), new_task($id, $input));
    is($r->{status}, 200, "task $id is accepted") || diag($r->{content});
}

my $least = 'workflow echo; queue tasks;';


# Nothing is set: the reference's defaults.

{
    my $nginx = nginx({}, 'workflow sleeper; queue tasks;');

    is_deeply(status($nginx), {
        service_name => 'echo', type => 'workflow_service',
        description => 'A service that wraps a workflow.', running => 'True',
        step_interval => '0.1', num_outstanding_calls => '0' }, 'defaults');

    submit($nginx, "default$_", { ms => 60000 }) for 1 .. 9;
    wait_for { 8 == grep { task($nginx, "default$_")->{status} eq 'running' }
        1 .. 9 } 10, 'eight tasks to run';
    submit($nginx, 'default10', { ms => 0 });
    is(scalar(grep { task($nginx, "default$_")->{status} eq 'queued' }
        1 .. 10), 2, 'eight at a time');

    is($nginx->stop('TERM'), 0, 'nginx ends');
    $nginx->log_ok;
    $redis->redis->flushall;
}

{
    my $nginx = nginx({}, 'workflow echo; queue tasks;');
    submit($nginx, 'fails', {});
    wait_for { task($nginx, 'fails')->{status} =~ /failed|dead/ } 10, 'its end';
    is(task($nginx, 'fails')->{status}, 'failed', 'raise_exceptions off');
    $nginx->stop;
    $redis->redis->flushall;
}


# All ten.

my %all = (
    SERVICE_NAME => 'named', DESCRIPTION => "From \"outside\" \xc3\xa9",
    HOST => 'workflows.example.com', PORT => '8002',
    RUNNING => 'false', STEP_INTERVAL => '0.25', MAX_CONCURRENT_TASKS => '1',
    RAISE_EXCEPTIONS => 'true', INTERNAL_HOST => '127.0.0.1',
);

my $named = 'location / { workflow_pass named; }';
my $expected = { service_name => 'named', type => 'workflow_service',
    description => "From \"outside\" \x{e9}", running => 'False',
    step_interval => '0.25', num_outstanding_calls => '0' };

{
    my $port = free_port;
    my %env = (%all, INTERNAL_PORT => $port);
    my $nginx = nginx(\%env, "{ $least }",
        port => $port, locations => $named, daemon => 1, start => 0,
        main => 'env PATH;');    # for a script in nginx' place

    # tells of the environment that nginx has when it loads the plugin

    my $dir = $nginx->dir;
    $nginx->write(http => $nginx->{http} . 'workflow_load '
        . Workflow::Plugin->compile("$dir/tell.so", <<"C") . ';');
#include <workflow.h>

extern char  **environ;

__attribute__((constructor)) static void
tell(void)
{
    char  **e;
    FILE   *f;

    f = fopen("$dir/environment", "w");

    for (e = environ; *e; e++) {
        if (strncmp(*e, "WORKFLOW_", 9) == 0) {
            fprintf(f, "%s\\n", *e);
        }
    }

    fclose(f);
}

static wf_status_t
stop(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;
    return wf_stop(run, "1", 1);
}

static const wf_step_t  steps[] = {
    { "stop", WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT), stop, 0, NULL }
};

WF_PLUGIN(WF_WORKFLOW("tell", "", steps));
C

    $nginx->start;

    is_deeply(utf8(status($nginx)), $expected, 'all variables');

    # nginx hands over to the new binary only what it was told of

    unlink "$dir/environment";
    my $old = $nginx->pid;
    $nginx->upgrade;
    isnt($nginx->pid, $old, 'a new master');
    is_deeply(utf8(status($nginx)), $expected, 'after a binary upgrade');

    is_deeply([sort split /\n/, slurp("$dir/environment")],
        [sort map { "WORKFLOW_SERVICE_$_=$env{$_}" } keys %env],
        'the new binary is given all ten');

    unlike($nginx->log, qr/WORKFLOW_SERVICE_/, 'no warning');
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok;
}

sub utf8 {
    my ($status) = @_;
    utf8::decode($status->{description});
    return $status;
}

sub slurp {
    open my $file, '<', $_[0] or die "$_[0]: $!";
    local $/;
    return <$file>;
}

{
    my $nginx = nginx({ MAX_CONCURRENT_TASKS => 1, RAISE_EXCEPTIONS => 'On' },
        'workflow sleeper; queue tasks;');
    submit($nginx, 'one', { ms => 60000 });
    wait_for { task($nginx, 'one')->{status} eq 'running' } 10, 'the first';
    submit($nginx, 'two', { ms => 0 });

    # two more intervals of the default, in which it would have been claimed

    my $polls = 0;
    my $end = Time::HiRes::time() + 0.25;
    while (Time::HiRes::time() < $end) {
        $polls++ if task($nginx, 'two')->{status} ne 'queued';
    }
    is($polls, 0, 'WORKFLOW_SERVICE_MAX_CONCURRENT_TASKS: one at a time');
    is(task($nginx, 'one')->{status}, 'running', 'meanwhile');
    $nginx->stop('TERM');
    $redis->redis->flushall;
}

{
    my $nginx = nginx({ RAISE_EXCEPTIONS => 'yes' },
        'workflow flaky; queue tasks;');
    submit($nginx, 'raises', { fail => 1000 });
    wait_for { task($nginx, 'raises')->{status} =~ /failed|dead/ } 10, 'end';
    is(task($nginx, 'raises')->{status}, 'dead',
        'WORKFLOW_SERVICE_RAISE_EXCEPTIONS');
    $nginx->stop;
    $redis->redis->flushall;
}


# A directive wins, and what it makes superfluous is not looked at.

{
    my $nginx = nginx({ %all, PORT => 'x', RUNNING => 'x', STEP_INTERVAL => 'x',
        MAX_CONCURRENT_TASKS => 'x', RAISE_EXCEPTIONS => 'x' },
        "echo { $least description here; host a; port 1; running on;"
        . ' step_interval 300ms; max_concurrent_tasks 2;'
        . ' raise_exceptions off; }');

    is_deeply(status($nginx), { service_name => 'echo', running => 'True',
        description => 'here', step_interval => '0.3',
        type => 'workflow_service', num_outstanding_calls => '0' },
        'directives win');
    $nginx->stop;
}

{
    my $nginx = nginx({ DESCRIPTION => 'outside' },
        "echo { $least description \"\"; }");
    is(status($nginx)->{description}, '', 'an empty directive is one');
    $nginx->stop;
}

{
    my $nginx = nginx({ map { $_ => '' } keys %all, 'INTERNAL_PORT' }, $least);
    is(status($nginx)->{description}, 'A service that wraps a workflow.',
        'an empty variable is none');
    $nginx->stop;
}

{
    my $nginx = nginx({ DESCRIPTION => 'shared', SERVICE_NAME => 'unused' },
        "echo { $least }\nworkflow_service other { $least }", locations =>
        'location / { workflow_pass echo; }'
        . ' location /o { workflow_pass other; }');
    is(from_json(http_get($nginx->url($_))->{content})->{description},
        'shared', 'for every service') for '/', '/o';
    $nginx->stop;
}


# Notations of pydantic.

for ([RUNNING => 'running', map { [$_ => 'True'] } qw(true True 1 yes on t Y)],
    [RUNNING => 'running', map { [$_ => 'False'] }
        qw(false FALSE 0 no off f n)],
    [STEP_INTERVAL => 'step_interval', ['1' => '1.0'], ['0.05' => '0.05'],
        ['2.5' => '2.5'], ['.5' => '0.5'], ['3600' => '3600.0']])
{
    my ($name, $key, @values) = @$_;
    for (@values) {
        my ($value, $shown) = @$_;
        my $nginx = nginx({ $name => $value }, $least);
        is(status($nginx)->{$key}, $shown, "WORKFLOW_SERVICE_$name=$value");
        $nginx->stop;
    }
}

for ([RUNNING => 'true or false', qw(maybe 2 onn)],
    [RAISE_EXCEPTIONS => 'true or false', qw(None -1)],
    [PORT => 'a number, as 8002', qw(http -1 8002.0 65536), '9' x 20],
    [MAX_CONCURRENT_TASKS => 'a number, as 8', qw(0 -1 8.5 many 1048577)],
    [STEP_INTERVAL => 'seconds, as 0.1', qw(0 -1 100ms 0.0001 3601 fast)])
{
    my ($name, $instead, @values) = @$_;
    nginx({ $name => $_ }, $least, start => 0)->refuses_ok(
        qr/variable WORKFLOW_SERVICE_$name is "\Q$_\E": .*; set it to $instead/,
        "WORKFLOW_SERVICE_$name=$_") for @values;
}

nginx({ SERVICE_NAME => $_->[0] }, "{ $least }", start => 0,
    locations => '')->refuses_ok($_->[1],
    "WORKFLOW_SERVICE_SERVICE_NAME=$_->[0]")
    for ['control_plane', qr/cannot be called "control_plane"/],
    ['a b', qr/"a b" is no name for a workflow_service/],
    ['x' x 129, qr/the name of a workflow_service has 1 to 128 characters/];

nginx({ SERVICE_NAME => 'twice' }, "{ $least }\nworkflow_service { $least }",
    start => 0, locations => '')->refuses_ok(
    qr/workflow_service "twice" is declared twice/, 'the same name twice');


# Where a Python service would listen, somebody should.

my $listens = free_port;

for ([{ INTERNAL_PORT => '1' }, 1], [{ INTERNAL_HOST => '10.1.2.3' }, 1],
    [{ INTERNAL_PORT => 'x' }, 1], [{ INTERNAL_HOST => '127.0.0.1' }, 0],
    [{ INTERNAL_PORT => $listens }, 0],
    [{ INTERNAL_HOST => '127.0.0.1', INTERNAL_PORT => $listens }, 0],
    [{ INTERNAL_HOST => '10.1.2.3', INTERNAL_PORT => $listens }, 1],
    [{ INTERNAL_HOST => '127.0.0.1', INTERNAL_PORT => '1' }, 1])
{
    my ($env, $warns) = @$_;
    my $name = join ' ', map { "$_=$env->{$_}" } sort keys %$env;
    my ($passed, $text) = nginx($env, $least, start => 0,
        port => $listens)->test;
    my $warned = $text =~ /\[warn\].* address that no server listens on; write/;
    ok($passed && !$warned == !$warns, $warns ? "warns of $name" : $name)
        || diag($text);
}

done_testing;
