# What nginx -t finds, with file, line and what to write instead; and what it
# must not complain about.

use strict;
use warnings;

use File::Spec ();
use Test::More;
use Workflow;

my $load = 'workflow_load @PLUGINS@/echo.so;';
my $queue = 'workflow_queue tasks { url redis://127.0.0.1:6379/0; }';
my $service = 'workflow_service echo { workflow echo; queue tasks; }';
my $pass = 'location / { workflow_pass echo; }';
my $all = "$load\n$queue\n$service\n";

my ($tls) = nginx("$load $service\nworkflow_queue tasks {\n"
    . "url rediss://127.0.0.1; }")->test;

sub nginx {
    my ($http, %parts) = @_;
    return Workflow::Nginx->new(start => 0, http => $http, locations => $pass,
        %parts);
}

# The line with the mistake ends in "# here".

sub bad {
    my ($name, $like, $http, %parts) = @_;
    nginx($http, %parts)->refuses_ok($like, $name);
}

sub good {
    my ($name, $http, %parts) = @_;
    nginx($http, %parts)->passes_ok($name);
}

# One line of a block, and what is right there.

sub in_service {
    my ($line, $like) = @_;
    bad("service: $line", $like, "$load\n$queue\nworkflow_service echo {\n"
        . "workflow echo;\n queue tasks;\n$line # here\n}");
}

sub in_queue {
    my ($line, $like) = @_;
    bad("queue: $line", $like,
        "$load\n$service\nworkflow_queue tasks {\n$line # here\n}");
}

# A pattern over several lines.

sub text {
    my $pattern = join ' ', split ' ', $_[0];
    return qr/$pattern/m;
}

sub instead {
    my ($why, $example) = @_;
    return qr/\Q$why\E.*[;:] write for example "\Q$example\E"/;
}


# Right ones.

good('as it should be', $all);
good('the service first', "$service\n$queue\n$load");
good('services behind the server', '', locations =>
    "$pass\n}\n$service\n$queue\n$load\n"
    . "server {\nlisten 127.0.0.1:\@PORT\@;\nserver_name b;");
good('nothing of it', '', locations => '');
good('a queue without anything', "$load $service workflow_queue tasks { }");
good('a queue and a plugin that nobody uses', "$load $queue",
    locations => '');
good('a service in no location', $all, locations => '');
good('a service in two locations', $all, locations =>
    'location /a/ { workflow_pass echo; } location /b { workflow_pass echo; }');
good('in two servers', $all, locations =>
    "$pass\n}\nserver {\nlisten 127.0.0.1:\@PORT\@;\nserver_name b;\n$pass");
good('in nested locations', $all, locations => 'location /a/ {'
    . ' location /a/b/ { workflow_pass echo; } workflow_pass echo; }');
good('in ^~', $all, locations => 'location ^~ /a/ { workflow_pass echo; }');
good('with access rules and limits', "$all\nlimit_req_zone "
    . '$binary_remote_addr zone=z:1m rate=1r/s;', locations => 'location / {'
    . ' limit_except GET { allow 127.0.0.1; deny all; } limit_req zone=z;'
    . ' if ($arg_x) { return 403; } satisfy any; workflow_pass echo; }');
good('two services of one workflow', "$all workflow_service again {"
    . ' workflow echo; queue tasks; }');
good('two queues, plugins, services', <<"HTTP");
$all
workflow_load \@PLUGINS\@/sleeper.so;
workflow_queue other { url unix:/run/redis.sock?db=3; topic_namespace other; }
workflow_service sleeper { workflow sleeper; queue other; }
HTTP
good('a service of the same name as its queue',
    "$load workflow_queue echo { } workflow_service echo { workflow echo;"
    . ' queue echo; }');

good('every directive', <<"HTTP", main => 'thread_pool other threads=2;');
$load
workflow_zone 256k;
workflow_queue tasks {
    url              redis://127.0.0.1:6379/0;
    topic_namespace  a.b-c_d;
    connect_timeout  500ms;
    command_timeout  2;
    username         user;
    password         "pass word;";
}
workflow_service echo {
    workflow              echo;
    queue                 tasks;
    description           "";
    host                  workflows.example.com;
    port                  8002;
    running               off;
    step_interval         1h;
    max_concurrent_tasks  1048576;
    raise_exceptions      on;
    thread_pool           other;
    timeout               0;
    result_ttl            1;
    event_ttl             1y;
    max_events            1;
    max_queued            0;
    max_message_size      256m;
}
HTTP

good("url $_", "$load $service workflow_queue tasks { url $_; }")
    for 'redis://127.0.0.1', 'redis://127.0.0.1:6380', 'redis://localhost/15',
    'redis://[::1]:6379/0', 'redis://:secret@127.0.0.1',
    'redis://u:p%40%2f%25:x@127.0.0.1/1', 'redis://127.0.0.1:6379/',
    'unix:/run/redis/redis.sock', 'unix:/run/redis/redis.sock?db=2';

{
    my $nginx = nginx("$load include \@DIR\@/a.conf;\nworkflow_service echo {\n"
        . "include \@DIR\@/service*.conf;\n}");
    put($nginx, 'a.conf', "workflow_queue tasks { include q.conf; }");
    put($nginx, 'q.conf', "url redis://127.0.0.1;\n");
    put($nginx, 'service1.conf', "workflow echo;\n");
    put($nginx, 'service2.conf', "queue tasks;\ninclude x.conf;\n");
    put($nginx, 'x.conf', "running on;\n");
    $nginx->passes_ok('files included in blocks');

    put($nginx, 'x.conf', "running on;\n\nrunnin on;\n");
    my ($passed, $text) = $nginx->test;
    ok(!$passed, 'a mistake in one of them');
    like($text, text(q{unknown directive "runnin" in workflow_service "echo".*
    in \S+/x\.conf:3$}), 'its file and line');

    put($nginx, 'x.conf', "running on;\n");
    put($nginx, 'q.conf', "url redis://127.0.0.1/x;\n");
    ($passed, $text) = $nginx->test;
    like($text, qr{"url" in workflow_queue "tasks".* in \S+/q\.conf:1$}m,
        'and in another');
}

sub put {
    my ($nginx, $name, $text) = @_;
    open my $file, '>', $nginx->dir . "/$name" or die "$name: $!";
    print $file $text;
    close $file or die "$name: $!";
}


# The configurations that come with the module, their files elsewhere.

for my $name (qw(quickstart production)) {
    my $nginx = nginx('');
    my $dir = $nginx->dir;

    open my $file, '<', "conf/$name.conf" or die "conf/$name.conf: $!";
    my $text = do { local $/; <$file> };

    my $module = $ENV{TEST_NGINX_MODULE}
        // 'build/ngx_http_workflow_module.so';
    my $plugins = $ENV{TEST_NGINX_WORKFLOWS} // 'build/workflows';
    $_ = File::Spec->rel2abs($_) for $module, $plugins;

    $text =~ s{\S+/ngx_http_workflow_module\.so}{$module};
    $text =~ s{(workflow_load\s+)\S+/}{$1$plugins/}g;
    $text =~ s{/run/nginx\.pid|/var/log/nginx/}{$&=~/pid/ ? 'nginx.pid'
        : 'logs/'}ge;
    $text =~ s{listen\s+\K(?:127\.0\.0\.1:8002|443)}{127.0.0.1:@{[
        $nginx->port ]}};
    $text =~ s{^user\s.*}{}m;

    if ($text =~ /ssl_certificate /) {
        system("openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x"
            . " -keyout $dir/key.pem -out $dir/cert.pem 2>/dev/null") == 0
            or die 'openssl';
        $text =~ s{(ssl_(?:trusted_)?certificate\s+)\S+;}{$1$dir/cert.pem;}g;
        $text =~ s{(ssl_certificate_key\s+)\S+;}{$1$dir/key.pem;};

        put($nginx, 'secret', 'a secret of more than 16 characters');
        $text =~ s{(hash_secret_file\s+)\S+;}{$1$dir/secret;};
    }

    put($nginx, 'nginx.conf', $text);
    $nginx->passes_ok("conf/$name.conf");
}


# Directives in the wrong place, misspelt, or cut short.

bad('a misspelt directive', qr/unknown directive "workflow_lod"/,
    "$all workflow_lod x; # here");
bad('a misspelt block', qr/unknown directive "workflow_services"/,
    "$load $queue\nworkflow_services echo { } # here");
bad('a misspelt workflow_pass', qr/unknown directive "workflowpass"/, $all,
    locations => 'location / { workflowpass echo; } # here');

in_service('max_concurent_tasks 8;', text(q/unknown directive
    "max_concurent_tasks" in workflow_service "echo", which takes workflow,
    queue,.* max_concurrent_tasks,/));
in_service('url redis://127.0.0.1;', qr/unknown directive "url" in workflow_s/);
in_queue('ur redis://127.0.0.1;', text(q/unknown directive "ur" in
    workflow_queue "tasks", which takes url, topic_namespace,/));
in_queue('timeout 5s;', qr/unknown directive "timeout" in workflow_queue/);

bad("$_->[0] in http", qr/unknown directive "$_->[0]"/, "$all\n$_->[1] # here")
    for ['step_interval', 'step_interval 1s;'], ['url', 'url redis://x;'];
bad("$_ in server", qr/"$_" directive is not allowed here/, $load,
    locations => "$_ x { } # here") for qw(workflow_service workflow_queue);
bad("$_ in server", qr/"$_" directive is not allowed here/, '',
    locations => "$_ 1m; # here") for qw(workflow_load workflow_zone);
bad("$_ at the top", qr/"$_" directive is not allowed here/, '',
    main => "$_ x { } # here") for qw(workflow_service workflow_queue);
bad('workflow_load at the top', qr/"workflow_load" directive is not allowed/,
    '', main => "$load # here");
bad("workflow_pass in $_->[0]", qr/"workflow_pass" directive is not allowed/,
    $all, locations => "$_->[1] # here")
    for ['server', 'workflow_pass echo;'],
    ['if', 'location / { if ($arg_x) { workflow_pass echo; } }'],
    ['limit_except', 'location / { limit_except GET { workflow_pass echo; } }'];
bad('workflow_pass in http', qr/"workflow_pass" directive is not allowed/,
    "$all workflow_pass echo; # here");

bad('no semicolon behind the url', qr/unexpected "}"/,
    "$load $service\nworkflow_queue tasks { url redis://127.0.0.1 } # here");
bad('no semicolon behind workflow_load',
    qr/directive "workflow_load" is not terminated by ";"/,
    "workflow_load \@PLUGINS\@/echo.so\nworkflow_queue tasks { } # here");
bad('no semicolon behind workflow_pass', qr/unexpected "}"/, $all,
    locations => 'location / { workflow_pass echo } # here');
in_service("timeout 10s\nmax_events 5;",
    instead('"timeout" in workflow_service "echo" takes one argument',
        'timeout 10s;'));
bad('no brace behind a service', qr/unexpected "\{"/,
    "$load $queue\nworkflow_service echo {\nworkflow echo;\nqueue tasks;\n"
    . "workflow_service other { # here\n");
bad('no brace behind a queue', qr/unexpected "\{"/,
    "$load workflow_queue tasks {\nworkflow_service echo { # here\n");
bad('a brace too many', qr/"server" directive is not allowed here/,
    "$all }\nserver { # here");
bad('no block', qr/directive "workflow_service" has no opening "\{"/,
    "$load $queue\nworkflow_service echo; # here");
bad('no queue block', qr/directive "workflow_queue" has no opening "\{"/,
    'workflow_queue tasks; # here');
bad('workflow_load with a block',
    qr/directive "workflow_load" is not terminated by ";"/,
    'workflow_load echo.so { # here');
bad("$_ without an argument", qr/invalid number of arguments in "$_"/,
    "$_; # here") for qw(workflow_load workflow_zone);
bad('workflow_pass without an argument', qr/invalid number of arguments in/,
    $all, locations => 'location / { workflow_pass; } # here');
bad('a queue without a name', qr/invalid number of arguments in "workflow_q/,
    'workflow_queue { } # here');
bad('two names', qr/invalid number of arguments in "workflow_service"/,
    "$load $queue\nworkflow_service a b { } # here");


# Names.

bad('a service without a name', text(q/"workflow_service" has no name, and
    WORKFLOW_SERVICE_SERVICE_NAME is not set; write
    "workflow_service NAME \{ \.\.\. \}"/),
    "$load $queue\nworkflow_service { workflow echo; queue tasks; } # here");
bad('control_plane', qr/cannot be called "control_plane".*; give it another/,
    "$load $queue\nworkflow_service control_plane { } # here");
bad("$_->[0]: the name $_->[1]", $_->[2], "$load\n$_->[0] $_->[1] { } # here")
    for map { my $what = $_;
        ["$what", 'a/b', qr{"a/b" is no name for a $what; use letters, digits}],
        ["$what", '"a b"', qr{"a b" is no name for a $what; use letters, dig}],
        ["$what", 'a:b', qr{"a:b" is no name for a $what; use letters, digit}],
        ["$what", "\xc3\xa9", qr{is no name for a $what; use letters}],
        ["$what", '""', qr{the name of a $what has 1 to 128 characters, not 0}],
        ["$what", 'x' x 129,
            qr{the name of a $what has 1 to 128 characters, not 129}]
    } qw(workflow_service workflow_queue);

bad('a service twice', text(q{workflow_service "echo" is declared twice, first
    in \S+/nginx\.conf:\d+; give one of them another name}),
    "$all\nworkflow_service echo { } # here");
bad('a queue twice', text(q{workflow_queue "tasks" is declared twice, first in
    \S+/nginx\.conf:\d+; give one of them another name}),
    "$all\nworkflow_queue tasks { } # here");

my $here = 'workflow_service echo { workflow echo; queue tasks; } # here';
bad('no plugin', text(q/runs the workflow "echo", which no plugin defines; write
    "workflow_load FILE;"/), "$queue\n$here");
bad('another workflow', qr/runs the workflow "ecoh", which no plugin defines;/,
    "$load $queue\n" . $here =~ s/workflow echo/workflow ecoh/r);
bad('no workflow', text(q/workflow_service "echo" has no workflow; write
    "workflow NAME;"/),
    "$load $queue\nworkflow_service echo {\nqueue tasks;\n} # here");
bad('an empty workflow', qr/workflow_service "echo" has no workflow; write/,
    "$load $queue\nworkflow_service echo { workflow ''; queue tasks; } # here");
bad('no queue', qr/workflow_service "echo" has no queue; write "queue NAME;"/,
    "$load $queue\nworkflow_service echo {\nworkflow echo;\n} # here");
bad('an unknown queue', text(q/uses the queue "tasks", which is not declared;
    write "workflow_queue tasks \{ url \.\.\.; \}"/), "$load\n$here");
bad('no thread pool', text(q/uses the thread pool "workflow", which is not
    declared; write "thread_pool workflow threads=8 max_queue=65536;"
    above "http"/), "$load $queue\n$here", pool => '');
bad('an unknown thread pool', text(q/uses the thread pool "nope", which is not
    declared; write "thread_pool nope threads=8/), "$load $queue\n"
    . 'workflow_service echo { workflow echo; queue tasks; thread_pool nope;'
    . ' } # here');
bad('a thread pool without a name',
    qr/"thread_pool" without a name; write "thread_pool workflow;"/,
    "$load $queue\nworkflow_service echo { workflow echo; queue tasks;"
    . ' thread_pool ""; } # here');

bad('a service that is not there', text(q/"workflow_pass ecoh;": there is no
    such service; write "workflow_service ecoh \{ \.\.\. \}"/), $all,
    locations => 'location / { workflow_pass ecoh; } # here');
bad('a URL for a service', qr{"http://echo" is no name for a workflow_service},
    $all, locations => 'location / { workflow_pass http://echo; } # here');
bad('twice in a location', qr/"workflow_pass" directive is duplicate/, $all,
    locations => "location / {\nworkflow_pass echo;\nworkflow_pass echo;"
    . " # here\n}");
bad("in location $_", text(q<; write a prefix location, as "location /echo/ \{
    workflow_pass echo; \}">), $all,
    locations => "location $_ { workflow_pass echo; } # here")
    for '~ ^/x', '~* \.x$', '= /x', '@x';


# Values.

my %examples = (
    port => 'port 8002;', step_interval => 'step_interval 100ms;',
    max_concurrent_tasks => 'max_concurrent_tasks 8;',
    timeout => 'timeout 10s;', result_ttl => 'result_ttl 1h;',
    event_ttl => 'event_ttl 10m;', max_events => 'max_events 1024;',
    max_queued => 'max_queued 1000000;',
    max_message_size => 'max_message_size 1m;', running => 'running on;',
    raise_exceptions => 'raise_exceptions off;', host => 'host 127.0.0.1;',
    workflow => 'workflow greeting;', queue => 'queue tasks;',
    description => 'description \"Greets whoever asks.\";',
    thread_pool => 'thread_pool workflow;',
);

for my $name (sort keys %examples) {
    my $example = $examples{$name} =~ s/\\//gr;
    my $of = "\"$name\" in workflow_service \"echo\"";

    in_service("$name;", instead("$of takes one argument", $examples{$name}));
    in_service("$name 1 2;",
        instead("$of takes one argument", $examples{$name}));
    in_service("$example $example",
        instead("$of: is duplicate", $examples{$name}))
        if $name !~ /^(?:workflow|queue)$/;
}

for (
    [port => 'http', '-1', 'on', '8002;8003', '1.5'],
    [max_concurrent_tasks => '-1', 'on', '8x', '1k', '99999999999999999999'],
    [max_events => '-1', 'on', '1m'], [max_queued => '-1', 'unlimited', '1m'],
    [step_interval => '0.1', '-1s', '100msec', 'on', '1ms1s'],
    [timeout => '-1', '10x', '1.5s', 'off'],
    [result_ttl => '-1', '100ms', '1x', 'forever'],
    [event_ttl => '-1', '10 m', '1x'],
    [max_message_size => '-1', '1mb', '1g', '1.5m', 'on'],
) {
    my ($name, @values) = @$_;
    for my $value (@values) {
        next if $value =~ /[; ]/;
        in_service("$name $value;", instead("\"$name\" in workflow_service "
            . '"echo": invalid', $examples{$name}));
    }
}

for (
    [port => '65536', '0 to 65535'], [step_interval => '0', '1ms to 1h'],
    [step_interval => '3601', '1ms to 1h'],
    [max_concurrent_tasks => '0', '1 to 1048576'],
    [max_concurrent_tasks => '1048577', '1 to 1048576'],
    [result_ttl => '0', '1s to 68y'], [result_ttl => '69y', '1s to 68y'],
    [event_ttl => '0', '1s to 68y'], [event_ttl => '100y', '1s to 68y'],
    [max_events => '0', '1 to 2147483647'],
    [max_events => '2147483648', '1 to 2147483647'],
    [max_message_size => '255', '256 to 256m'],
    [max_message_size => '257m', '256 to 256m'],
) {
    my ($name, $value, $range) = @$_;
    in_service("$name $value;", instead("\"$name\" in workflow_service "
        . "\"echo\": the range is $range", $examples{$name}));
}

for my $name (qw(running raise_exceptions)) {
    in_service("$name $_;", instead("\"$name\" in workflow_service \"echo\"",
        $examples{$name})) for qw(yes 1 true onn);
}

in_service('include;', instead('"include" in workflow_service "echo" takes one',
    'include workflow.conf;'));
in_service('include /nowhere/to/be/found;', qr/open\(\) .* failed/);
in_service('server { }', qr/unexpected "\{"/);

bad("workflow_zone $_", instead("\"workflow_zone $_;\" is no size",
    'workflow_zone 128k;'), "$all\nworkflow_zone $_; # here")
    for qw(0 abc -1 1g 1.5m tasks:1m on);
bad("workflow_zone $_", text(q/"workflow_zone" is too small; write
    "workflow_zone \d+k;" or more/), "$all\nworkflow_zone $_; # here")
    for qw(1 8k 16k);
bad('workflow_zone twice', qr/"workflow_zone" directive is duplicate/,
    "$all workflow_zone 1m;\nworkflow_zone 1m; # here");

# what the error asks for is enough

{
    my $nginx = nginx("$all workflow_zone 1;");
    my ($passed, $text) = $nginx->test;
    my ($line) = $text =~ /write "(workflow_zone \d+k;)"/;
    good("the error's $line", "$all $line");
}


# The queue.

my $url = 'url redis://127.0.0.1:6379/0;';

in_queue("url $_->[0];", instead("\"url\" in workflow_queue \"tasks\": $_->[1]",
    $url)) for
    (map { [$_, 'it begins with none of "redis://", "rediss://" and "unix:"'] }
        '127.0.0.1:6379', 'localhost', 'http://127.0.0.1', 'redis:127.0.0.1',
        'redis:/127.0.0.1', 'REDIS://127.0.0.1', 'tcp://127.0.0.1', '""',
        '/run/redis.sock'),
    (map { [$_, 'it has no host'] } 'redis://', 'redis:///0',
        'redis://:secret@', 'redis://:secret@/0'),
    (map { [$_, 'its address is wrong (invalid port)'] }
        'redis://127.0.0.1:0', 'redis://127.0.0.1:70000',
        'redis://127.0.0.1:-1', 'redis://127.0.0.1:x',
        'redis://127.0.0.1:6379:1'),
    ['redis://[::1', 'its address is wrong (invalid host)'],
    ['redis://no-such-host.invalid', 'its address is wrong (host not found)'],
    (map { [$_, 'its database is not a number'] } 'redis://127.0.0.1/x',
        'redis://127.0.0.1/-1', 'redis://127.0.0.1/0/1',
        'redis://127.0.0.1/0?timeout=1', 'redis://127.0.0.1/1.5',
        'redis://127.0.0.1/99999999999999999999', 'unix:/a?db=x',
        'unix:/a?db=-1'),
    (map { [$_, 'it names a user without a password ("redis://user:password@'
        . '127.0.0.1")'] } 'redis://user@127.0.0.1', 'redis://:@127.0.0.1',
        'redis://user:@127.0.0.1'),
    (map { [$_, 'its user or password has a bad %XX (in a password write "/" as'
        . ' %2F, "@" as %40 and "%" as %25)'] } 'redis://u:%zz@127.0.0.1',
        'redis://u:100%@127.0.0.1', 'redis://%4@127.0.0.1'),
    (map { [$_, 'its address is wrong ('] } 'redis://u:pa/ss@127.0.0.1',
        'redis://u:p@ss@127.0.0.1'),
    (map { [$_, 'it has no absolute path behind "unix:" ("unix:/run/redis/'
        . 'redis.sock")'] } 'unix:', 'unix:redis.sock', 'unix:?db=1'),
    ['unix:/' . 'x' x 120, 'its path is too long for a unix socket'],
    (map { [$_, 'it has something else than "?db=NUMBER" behind its path'] }
        'unix:/a?x=1', 'unix:/a?', 'unix:/a?database=1');

in_queue('url redis://127.0.0.1 6379;',
    instead('"url" in workflow_queue "tasks" takes one argument', $url));

my %queue_examples = (
    url => $url, topic_namespace => 'topic_namespace llama_deploy;',
    connect_timeout => 'connect_timeout 5s;',
    command_timeout => 'command_timeout 5s;',
    username => 'username workflow;', password => 'password secret;',
    ssl_verify => 'ssl_verify on;', ssl_name => 'ssl_name redis.example.com;',
);

for my $name (sort keys %queue_examples) {
    my $example = $queue_examples{$name};
    my $of = "\"$name\" in workflow_queue \"tasks\"";

    in_queue("$name;", instead("$of takes one argument", $example));
    in_queue("$name a b;", instead("$of takes one argument", $example));
    in_queue("$example $example", instead("$of: is duplicate", $example));
}

for my $name (qw(connect_timeout command_timeout)) {
    my $of = "\"$name\" in workflow_queue \"tasks\": ";
    in_queue("$name 0;", instead("${of}the range is from 1ms on",
        $queue_examples{$name}));
    in_queue("$name $_;", instead("${of}invalid value",
        $queue_examples{$name})) for qw(-1 5x on 0.5);
}

in_queue('ssl_verify maybe;', instead('"ssl_verify" in workflow_queue "tasks"',
    'ssl_verify on;'));
in_queue("topic_namespace $_;", qr/topic_namespace[ ;].*(?:use|has 1 to 128)/)
    for '"a b"', 'a:b', 'a*', '"{a}"', '""', 'x' x 129;

bad('a user without a password', text(q/workflow_queue "tasks" has a username
    and no password; write "password \.\.\.;"/),
    "$load $service\nworkflow_queue tasks {\nusername u;\n} # here");
bad("$_ without TLS", text(q/workflow_queue "tasks" has ssl directives and no
    TLS; write "url rediss:\/\/\.\.\.;" or leave them out/),
    "$load $service\nworkflow_queue tasks {\n$_ off;\n} # here")
    for qw(ssl_trusted_certificate ssl_certificate ssl_certificate_key
    ssl_verify ssl_name);

SKIP: {
    skip 'hiredis has TLS', 1 if $tls;
    bad('rediss:// without TLS', text(q/asks for TLS, and this module was built
        with a hiredis that has none .*; write "url redis:/),
        "$load $service\nworkflow_queue tasks { url rediss://127.0.0.1; }"
        . ' # here');
}


# A password is nowhere in what nginx says about it.

for my $lines (
    'url redis://:Hush@127.0.0.1:x;', 'url redis://:Hush@127.0.0.1/x;',
    'url redis://u:Hush/Hush@127.0.0.1;', 'url rediss://:Hush@127.0.0.1;',
    'url http://:Hush@127.0.0.1;', 'url redis://:Hush@127.0.0.1; url a;',
    'url a; url redis://:Hush@127.0.0.1;', 'password Hush; password Hush;',
    'password Hush x;', 'password Hush; topic_namespace :;',
    'url redis://:Hush@no-such-host.invalid;', 'url redis://:Hu%zzsh@x;',
    'username u; password ""; ssl_name Hush;'
) {
    my ($passed, $text) = nginx("$load $service\nworkflow_queue tasks {\n"
        . "$lines\n}")->test;
    next if $passed && $tls;
    ok(!$passed && $text !~ /Hush/, "no password in the error: $lines")
        || diag($text);
}


# The rest of what workflow_load says is in plugin.t.

bad('a plugin that is not there', qr{plugin "/nowhere/x\.so": No such file},
    'workflow_load /nowhere/x.so; # here', locations => '');
bad('a plugin twice', text(q{the workflow "echo" of plugin "\S+" is already
    defined by "\S+"; load one of them}), "$all\n$load # here");

done_testing;
