# Plugins: what nginx -t refuses, what replaces what, and when.

use strict;
use warnings;

use File::Temp ();
use Test::More;
use Workflow;
use Workflow::Plugin;

my $temp = File::Temp->newdir('workflow-plugins-XXXXXX', TMPDIR => 1);
chmod 0755, "$temp";

# A whole plugin around what stands behind its functions.

sub plugin {
    my ($name, $rest) = @_;
    return Workflow::Plugin->compile("$temp/$name.so", <<"C" . $rest);
#include <workflow.h>
#include <unistd.h>

WF_UNUSED static wf_status_t
one(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;
    return wf_stop_text(run, "one", 3);
}

WF_UNUSED static wf_status_t
two(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;
    return wf_stop_text(run, "two", 3);
}

/* until there is a file "go" */

WF_UNUSED static wf_status_t
gated(wf_run_t *run, const wf_event_t *ev)
{
    wf_status_t  rc;

    while (access("$temp/go", F_OK) != 0) {
        rc = wf_sleep(run, 5);
        if (rc != WF_OK) {
            return rc;
        }
    }

    return one(run, ev);
}

C
}

# One workflow; steps: [name, accepts, produces, function].

sub steps {
    my ($array, @steps) = @_;
    my $types = sub { $_[0] ? 'WF_TYPES(' . $_[0] . ')' : 'NULL' };

    return "static const wf_step_t  $array\[] = {\n" . join('', map {
        my ($name, $accepts, $produces, $run, $workers) = @$_;
        sprintf "    { %s, %s, %s, %s, %s, NULL },\n",
            defined $name ? "\"$name\"" : 'NULL', $types->($accepts),
            $types->($produces), $run // 'one', $workers // 0;
    } @steps) . "};\n\n";
}

sub workflow {
    my ($name, @steps) = @_;
    return steps('steps', @steps)
        . "WF_PLUGIN(WF_WORKFLOW(\"$name\", \"For tests.\", steps));\n";
}

# The manifest by hand; its fields as C text.

sub manifest {
    my (%with) = @_;
    my @fields = map { $with{$_->[0]} // $_->[1] } ['major', 'WF_ABI_MAJOR'],
        ['minor', 'WF_ABI_MINOR'], ['size', 'sizeof(wf_plugin_t)'],
        ['workflow_size', 'sizeof(wf_workflow_t)'],
        ['step_size', 'sizeof(wf_step_t)'], ['n', 1],
        ['workflows', 'workflows'];

    return steps('steps', ['step', 'WF_START_EVENT', 'WF_STOP_EVENT'])
        . ($with{before} // '') . <<"C";
WF_UNUSED static const wf_workflow_t  workflows[] = {
    WF_WORKFLOW("w", "For tests.", steps)
};
static const wf_plugin_t  manifest = { @{[ join ', ', @fields ]} };
WF_EXPORT const wf_plugin_t *wf_plugin(void);
const wf_plugin_t *wf_plugin(void) { return &manifest; }
C
}

sub nginx {
    my ($http, %parts) = @_;
    return Workflow::Nginx->new(start => 0, http => $http, %parts);
}

sub refused {
    my ($path, $like, $name) = @_;
    nginx("workflow_load $path; # here")->refuses_ok(
        qr/plugin "\Q$path\E": $like/, $name);
}

sub taken {
    my ($path, $name) = @_;
    nginx("workflow_load $path;")->passes_ok($name);
}

my @good = ('step', 'WF_START_EVENT', 'WF_STOP_EVENT');
my $good = plugin('good', workflow('good', \@good));


# Files.

taken($good, 'a good one, built by cc with include/ and nothing else');

my $nginx = nginx('workflow_load good.so;');
symlink $good, $nginx->dir . '/good.so';
$nginx->passes_ok('a path below the prefix, by a link');

refused("$temp/nowhere.so", 'No such file or directory', 'no file');
refused("$temp", 'is not a file', 'a directory');
refused(put("$temp/text.so", "no plugin at all\n" x 100),
    '.*invalid ELF header', 'not a shared object');
refused(put("$temp/empty.so", ''), '.*file too short', 'an empty file');

chmod 0646, $good;
refused($good, 'is writable by others, which would let them run code as nginx;'
    . ' use "chmod o-w"', 'writable by others');
chmod 0644, $good;

SKIP: {
    skip 'root may read everything', 1 if $> == 0;
    chmod 0200, $good;
    refused($good, '.*Permission denied', 'unreadable');
    chmod 0644, $good;
}

refused(plugin('undefined', "extern int  missing(void);\n"
    . "int  call(void);\nint  call(void) { return missing(); }\n"
    . workflow('w', \@good)), '.*undefined symbol: missing',
    'a function that is nowhere');

sub put {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!";
    print $file $text;
    close $file or die "$path: $!";
    return $path;
}


# Manifests.

refused(plugin('symbol', "int  other(void);\nint  other(void) { return 0; }\n"),
    'has no function "wf_plugin"; a plugin ends with WF_PLUGIN\(...\), see'
    . ' workflow.h', 'no manifest');
refused(plugin('null', "WF_EXPORT const wf_plugin_t *wf_plugin(void);\n"
    . "const wf_plugin_t *wf_plugin(void) { return NULL; }\n"),
    'has no manifest', 'NULL for a manifest');

for (['older', major => 'WF_ABI_MAJOR - 1'], ['newer', major =>
    'WF_ABI_MAJOR + 1'], ['later', minor => 'WF_ABI_MINOR + 1'])
{
    my ($name, @with) = @$_;
    refused(plugin($name, manifest(@with)), 'was built for version \d+\.\d+ of'
        . ' workflow.h, and this module takes \d+\.0 to \d+\.\d+; build it'
        . ' again with this module\'s header', "version $name");
}

refused(plugin("broken", manifest(@$_)), 'has a broken or empty manifest',
    "$_->[0] $_->[1]")
    for [n => 0], [workflows => 'NULL'], [size => 4];
refused(plugin("sizes", manifest(@$_)),
    'The plugin\'s structures have impossible sizes.', "$_->[0] $_->[1]")
    for [step_size => 'sizeof(wf_step_t) - sizeof(void *)'],
    [step_size => 'sizeof(wf_step_t) + 1'], [step_size => 0],
    [workflow_size => 'sizeof(wf_workflow_t) - sizeof(void *)'],
    [workflow_size => 'sizeof(wf_workflow_t) + 4'];


# Graphs, in the reference's words.

my $graphs = 0;

sub graph {
    my ($like, @steps) = @_;
    refused(plugin('graph' . ++$graphs, workflow('w', @steps)), $like, $like);
}

graph('The following events are consumed but never produced: A, B',
    [@good], ['a', '"A"', 'WF_STOP_EVENT'], ['b', '"B"', 'WF_STOP_EVENT']);
graph('The following events are consumed but never produced: StopEvent',
    ['step', 'WF_START_EVENT']);
graph('The following events are produced but never consumed: X',
    ['step', 'WF_START_EVENT', 'WF_STOP_EVENT, "X"']);
graph('The following events are produced but never consumed: StartEvent',
    ['step', 'WF_HUMAN_RESPONSE_EVENT', 'WF_STOP_EVENT']);
graph('A step step is already part of this workflow, please choose another'
    . ' name.', [@good], [@good]);
graph('Step signature must have at least one parameter annotated as type Event',
    ['step', undef, 'WF_STOP_EVENT']);
graph('num_workers must be an integer greater than 0', [@good, 'one',
    '0x80000000u']);
graph('Step step has no function.', [@good, 'NULL']);
graph('A step has no name', [undef, @good[1, 2]]);
graph('A step has no name', ['', @good[1, 2]]);
graph('A step has no name, or one that is not UTF-8', ["\\xff", @good[1, 2]]);

refused(plugin('nosteps', "static const wf_step_t  steps[1];\n"
    . 'WF_PLUGIN({ "w", "", steps, 0, 0, NULL });'),
    'The workflow w has no steps.', 'no steps');
refused(plugin('noname', steps('steps', \@good)
    . 'WF_PLUGIN({ NULL, "", steps, 1, 0, NULL });'),
    'A workflow has no name', 'a workflow without a name');
refused(plugin('twins', steps('steps', \@good)
    . 'WF_PLUGIN(WF_WORKFLOW("w", "", steps), WF_WORKFLOW("w", "", steps));'),
    'has two workflows of the name "w"', 'two workflows of one name');

my $loose = ['step', 'WF_START_EVENT', '"Nowhere"'];
taken(plugin('unchecked', steps('steps', $loose)
    . 'WF_PLUGIN({ "w", "", steps, 1, WF_DISABLE_VALIDATION, NULL });'),
    'a graph that is not to be checked');
taken(plugin('external', steps('steps', \@good, ['other', '"Other"',
    'WF_STOP_EVENT'])
    . 'WF_PLUGIN({ "w", "", steps, 2, 0, WF_TYPES("Other") });'),
    'an event from outside');
taken(plugin('human', workflow('w', ['ask', 'WF_START_EVENT',
    'WF_INPUT_REQUIRED_EVENT'], ['answer', 'WF_HUMAN_RESPONSE_EVENT',
    'WF_STOP_EVENT'])), 'a human');

my $same = plugin('same', workflow('good', \@good));
nginx("workflow_load $good;\nworkflow_load $same; # here")->refuses_ok(
    qr{"good" of plugin "\Q$same\E" is already defined by "\Q$good\E"; load},
    'a workflow in two plugins');


# At work.

my $redis = Workflow::Redis->new;

sub service {
    my ($name, $path, $workflow) = @_;
    $workflow //= $name;
    return "workflow_load $path; workflow_service $name { workflow $workflow;"
        . ' queue tasks; }';
}

sub started {
    my (@services) = @_;
    my @names = map { /workflow_service (\w+)/g } @services;
    return Workflow::Nginx->new(http => join("\n", @services)
        . "\nworkflow_queue tasks { url @{[ $redis->url ]}; }",
        locations => join '', map { "location /$_ { workflow_pass $_; }" }
        @names);
}

my $ids = 0;

sub submit {
    my ($server, $service) = @_;
    my $id = 't' . ++$ids;
    my $r = wait_for {
        my $answer = http_post($server->url("/$service/process_message"),
            new_task($id, {}));
        $answer->{status} == 503 && $answer->{content} =~ /Redis/
            ? undef : $answer;
    } 10, 'Redis';
    is($r->{status}, 200, "$service: a task is accepted")
        || diag($r->{content});
    return $id;
}

sub task {
    my ($server, $service, $id) = @_;
    my $r = http_get($server->url("/$service/tasks/$id"));
    return $r->{status} == 200 ? from_json($r->{content}) : { status => '' };
}

sub result {
    my ($server, $service, $id) = @_;
    return wait_for { my $task = task($server, $service, $id);
        $task->{status} =~ /completed|failed/
            && ($task->{result} // $task->{error}) } 10, "the result of $id";
}


# Structures that are larger than ours, as those of a later version are: one
# finds the second workflow's second step only by the manifest's strides.

{
    my $path = plugin('strides', <<'C');
typedef struct { wf_step_t step; void *more[3]; } step_t;
typedef struct { wf_workflow_t workflow; void *more; } workflow_t;

static const step_t  steps[] = {
    { { "a", WF_TYPES(WF_HUMAN_RESPONSE_EVENT), NULL, two, 0, NULL }, { 0 } },
    { { "b", WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT), one, 0, NULL },
      { 0 } },
};
static const workflow_t  workflows[] = {
    { { "first", "", &steps[1].step, 1, 0, NULL }, NULL },
    { { "second", "", &steps[0].step, 2, 0, NULL }, NULL },
};
static const wf_plugin_t  manifest = { WF_ABI_MAJOR, WF_ABI_MINOR,
    sizeof(wf_plugin_t), sizeof(workflow_t), sizeof(step_t), 2,
    &workflows[0].workflow };
WF_EXPORT const wf_plugin_t *wf_plugin(void);
const wf_plugin_t *wf_plugin(void) { return &manifest; }
C
    my $server = started(service('first', $path),
        'workflow_service second { workflow second; queue tasks; }');
    is(result($server, $_, submit($server, $_)), 'one', "strides: $_")
        for qw(first second);
    $server->stop;
    $server->log_ok;
}


# Replaced while it is in use.

{
    my $path = plugin('replaced', workflow('w', [@good, 'gated']));
    my $server = started(service('w', $path));
    my $old = submit($server, 'w');
    wait_for { task($server, 'w', $old)->{status} eq 'running' } 10, 'the old';

    plugin('replaced', workflow('w', [@good, 'two']));

    my %before = map { $_ => 1 } $server->workers;
    $server->signal('HUP');
    wait_for { my $log = $server->log;
        !grep { $log !~ /\b$_#.*gracefully shutting down/ } keys %before } 10,
        'the old workers to leave';

    is(result($server, 'w', submit($server, 'w')), 'two',
        'after a reload the new file is in use');
    is(task($server, 'w', $old)->{status}, 'running', 'the old task goes on');

    put("$temp/go", '');
    is(result($server, 'w', $old), 'one', 'with the old file');
    wait_for { !grep { $before{$_} } $server->workers } 10, 'old ones to end';

    # not before a reload, even in a worker that begins anew

    plugin('replaced', workflow('w', [@good, 'one']));
    is(result($server, 'w', submit($server, 'w')), 'two',
        'not before a reload');

    # broken: the old configuration stays

    my @workers = $server->workers;

    for (['invalid ELF header', sub {
            rename put("$path.new", 'x' x 9999), $path }],
        ['"w", which no plugin defines', sub {
            plugin('replaced', workflow('renamed', \@good)) }],
        ['consumed but never produced: StopEvent', sub {
            plugin('replaced', workflow('w', [@good[0, 1]])) }],
        ['No such file', sub { unlink $path }])
    {
        my ($like, $break) = @$_;
        $break->();
        $server->signal('HUP');
        wait_for { $server->log =~ /\[emerg\].*(?:$like)/ } 10, $like;
        is(result($server, 'w', submit($server, 'w')), 'two', "still: $like");
        is_deeply([$server->workers], \@workers, 'in the same workers');
    }

    plugin('replaced', workflow('w', [@good, 'one']));
    $server->reload;
    is(result($server, 'w', submit($server, 'w')), 'one', 'repaired');
    is($server->stop, 0, 'nginx ends');
    $server->log_ok(qr/\[emerg\].*(?:plugin "\Q$path\E": |no plugin defines)/);
}


# Gone, or not for the workers' eyes, when a worker begins.

sub closed {
    my ($server, $service, $why) = @_;
    wait_for { $server->log =~ /\[emerg\].*plugin "\S+": .*$why/ } 10, $why;

    my $r = wait_for {
        my $answer = http_post($server->url("/$service/process_message"),
            new_task('c', {}));
        $answer->{content} =~ /plugin/ && $answer } 10, 'an answer';
    is($r->{status}, 503, "$why: 503");
    is($r->{content}, '{"detail":"The service\'s plugin could not be opened"}',
        'which says why');
    is($r->{headers}{'retry-after'}, 1, 'for now');
    is(http_get($server->url("/$service"))->{status}, 200, 'GET / goes on');
    is(http_get($server->url("/$service/tasks/c"))->{status}, 503, 'tasks not');
}

{
    my $path = plugin('gone', workflow('gone', [@good, 'two']));
    my $server = started(service('good', $good), service('gone', $path));

    unlink $path;
    kill 'KILL', $server->workers;
    closed($server, 'gone', 'No such file');
    is(result($server, 'good', submit($server, 'good')), 'one', 'others go on');

    plugin('gone', workflow('gone', [@good, 'two']));
    $server->reload;
    is(result($server, 'gone', submit($server, 'gone')), 'two', 'there again');
    $server->stop;
    $server->log_ok(qr/\[emerg\].*plugin "\S+gone\.so": .*No such file/,
        qr/\[emerg\].*"gone" is not served: plugin "\S+" has no workflow/,
        qr/\[alert\].*worker process \d+ exited on signal 9/);
}

SKIP: {
    skip 'only root has workers of another user', 9 if $> != 0;
    local $ENV{TEST_NGINX_WORKER_USER} = 'nobody nogroup';

    my $path = plugin('secret', workflow('secret', \@good));
    chmod 0600, $path;
    my $server = started(service('good', $good), service('secret', $path));

    closed($server, 'secret', 'Permission denied');
    is(result($server, 'good', submit($server, 'good')), 'one', 'others go on');
    $server->stop;
    $server->log_ok(qr/\[emerg\].*plugin "\S+secret\.so": .*Permission denied/,
        qr/\[emerg\].*"secret" is not served: plugin "\S+" has no workflow/);
}

done_testing;
