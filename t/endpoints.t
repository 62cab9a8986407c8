# The endpoints: what each path and method is answered with, and what nginx
# does around them.

use strict;
use warnings;

use File::Spec ();
use Workflow;

our $redis;

BEGIN {
    $redis = Workflow::Redis->new;
    $ENV{TEST_NGINX_SERVER_PORT} = Workflow::free_port();
    $ENV{TEST_NGINX_FORCE_RESTART_ON_TEST} = 0;
    $ENV{TEST_NGINX_REDIS_URL} = $redis->url;
}

use Test::Nginx::Socket 'no_plan';

my $module = File::Spec->rel2abs($ENV{TEST_NGINX_MODULE}
    // 'build/ngx_http_workflow_module.so');
my $plugins = File::Spec->rel2abs($ENV{TEST_NGINX_WORKFLOWS}
    // 'build/workflows');

my $main = <<"MAIN";
load_module $module;
thread_pool workflow threads=2;
MAIN

my $http = <<"HTTP";
workflow_load $plugins/greeting.so;
workflow_load $plugins/echo.so;
workflow_queue tasks { url \$TEST_NGINX_REDIS_URL; }
workflow_service greeting {
    workflow greeting;
    queue tasks;
    description "Says \\"h\303\244llo\\" \\\\ \342\202\254.";
    step_interval 250ms;
}
workflow_service echo { workflow echo; queue tasks; }
workflow_service idle {
    workflow echo; queue tasks; running off; step_interval 60s;
}
workflow_service spare { workflow echo; queue tasks; running off; }
limit_req_zone \$server_port zone=one:32k rate=1r/m;
HTTP

my $config = <<'CONFIG';
location /greeting { workflow_pass greeting; }
location /echo/ { workflow_pass echo; }
location /v1/again/ { workflow_pass echo; }
location /idle/ { workflow_pass idle; }
location /spare/ { workflow_pass spare; }
location /nested/ {
    workflow_pass greeting;
    location /nested/echo/ { workflow_pass echo; }
    location /nested/none/ { }
}

location /denied/ { deny all; workflow_pass echo; }
location /limited/ { limit_req zone=one; workflow_pass echo; }
location /known/ { auth_basic known; auth_basic_user_file users;
                   workflow_pass echo; }
location /asked/ { auth_request /auth; workflow_pass echo; }
location /auth { internal; if ($http_x_key = "yes") { return 204; }
                 return 403; }
location /inner/ { internal; workflow_pass echo; }
location /outer/ { rewrite ^/outer/(.*) /inner/$1 last; }

location /conditional/ {
    if ($arg_name) { set $name $arg_name; }
    workflow_pass echo;
}
location /readers/ {
    limit_except GET { allow 127.0.0.1; deny all; }
    workflow_pass echo;
}

location /page/ {
    default_type text/plain;
    add_before_body /echo/;
    add_after_body /echo/tasks/none;
    alias html/;
}
location /open/ { auth_request /echo/; alias html/; }
location /closed/ { auth_request /echo/tasks/none; alias html/; }

location /copied/ {
    mirror /idle/process_message;
    mirror /spare/process_message;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/v1/again/;
}
location /copied-file/ {
    mirror /idle/process_message;
    mirror /spare/process_message;
    client_body_in_file_only clean;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/v1/again/;
}
location /not-copied/ {
    mirror /idle/process_message;
    mirror_request_body off;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/v1/again/;
}
CONFIG

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('main_config', $main);
    $block->set_value('http_config', $http);
    $block->set_value('config', $config);
    $block->set_value('user_files', [ [ '../conf/users', 'ada:{PLAIN}pass' ] ]);
    $block->set_value('no_error_log', "[alert]\n[emerg]\n[crit]\n");
});

# The text of a message with a task's id.

sub post {
    my ($path, $id, $headers) = @_;
    my $body = new_task($id, { arg1 => 'x' });

    return join "\r\n", "POST $path HTTP/1.1", 'Host: localhost',
        'Content-Type: application/json', 'Connection: close',
        'Content-Length: ' . length $body, @{ $headers // [] }, '', $body;
}

sub service {
    my ($name, $description, $running, $interval) = @_;
    return qq({"service_name":"$name","description":"$description",)
        . qq("running":"$running","step_interval":"$interval",)
        . qq("num_outstanding_calls":"0","type":"workflow_service"});
}

our $greeting = service('greeting',
    "Says \\\"h\303\244llo\\\" \\\\ \342\202\254.", 'True', '0.25');
our $echo = service('echo', 'A service that wraps a workflow.', 'True', '0.1');
our $idle = service('idle', 'A service that wraps a workflow.', 'False',
    '60.0');
our $not_found = '{"detail":"Not Found"}';
our $not_allowed = '{"detail":"Method Not Allowed"}';

master_on();
workers(2);
no_shuffle();
no_long_string();
run_tests();

# Only what should has been accepted, and mirrors have sent all of it.

sub tasks {
    my ($service) = @_;
    return join ' ', sort map { /:task:(.*)/ }
        $redis->redis->keys("{llama_deploy.$service}:task:*");
}

is(tasks('echo'),
    'asked conditional copied copied-file inner known not-copied readers',
    'tasks of messages that were sent');

for my $service ('idle', 'spare') {
    my $queue = "{llama_deploy.$service}:queue";

    wait_for { $redis->redis->xlen($queue) >= 2 } 10, 'what was mirrored';
    is(tasks($service), 'copied copied-file', "what was mirrored to $service");
    is($_->[1][3], '{"arg1":"x"}', "the input of $_->[1][1]")
        for @{ $redis->redis->xrange($queue, '-', '+') };
}

__DATA__

=== TEST 1: the service, byte for byte
--- request
GET /greeting/
--- response_body eval: $::greeting
--- response_headers eval
"Content-Type: application/json
Content-Length: " . length $::greeting


=== TEST 2: without the trailing slash
--- request
GET /greeting
--- response_body eval: $::greeting


=== TEST 3: with arguments
--- request
GET /greeting/?x=1
--- response_body eval: $::greeting


=== TEST 4: HEAD has no body
--- request
HEAD /greeting/
--- response_body
--- response_headers eval
"Content-Type: application/json
Content-Length: " . length $::greeting


=== TEST 5: HEAD without the trailing slash
--- request
HEAD /greeting
--- response_body
--- response_headers eval
"Content-Length: " . length $::greeting


=== TEST 6: one service in several locations, another that does not run
--- request eval
["GET /echo/", "GET /v1/again/", "GET /nested/echo/", "GET /idle/"]
--- response_body eval
[$::echo, $::echo, $::echo, $::idle]


=== TEST 7: a path that only begins like the location
--- request eval
["GET /greetings", "GET /greetings/", "POST /greetingprocess_message\n{}",
 "GET /greetings/tasks/x"]
--- error_code eval
[404, 404, 404, 404]
--- response_body eval
[($::not_found) x 4]


=== TEST 8: paths that are nothing
--- request eval
["GET /echo/nothing", "POST /echo/nothing\n{}", "GET /echo/tasks",
 "GET /echo/tasks/", "GET /echo/process_message/",
 "POST /echo/process_messages\n{}", "DELETE /echo/nothing",
 "GET /echo/openapi.json"]
--- error_code eval
[(404) x 8]
--- response_body eval
[($::not_found) x 8]


=== TEST 9: paths are what nginx makes of them
--- request eval
["GET //echo//", "GET /echo/x/..", "GET /%65cho/%2e", "HEAD /echo/./tasks/x"]
--- error_code eval
[200, 200, 200, 404]
--- response_body eval
[$::echo, $::echo, $::echo, ""]


=== TEST 10: methods of the service
--- request eval
["POST /echo/\n{}", "PUT /echo/\n{}", "DELETE /echo/", "PATCH /echo/\n{}",
 "OPTIONS /echo/", "PROPFIND /echo/"]
--- error_code eval
[(405) x 6]
--- response_headers eval
[("Allow: GET, HEAD\nContent-Type: application/json") x 6]
--- response_body eval
[($::not_allowed) x 6]


=== TEST 11: methods of process_message
--- request eval
["GET /echo/process_message", "PUT /echo/process_message\n{}",
 "DELETE /echo/process_message", "OPTIONS /echo/process_message"]
--- error_code eval
[(405) x 4]
--- response_headers eval
[("Allow: POST") x 4]
--- response_body eval
[($::not_allowed) x 4]


=== TEST 12: HEAD of process_message
--- request
HEAD /echo/process_message
--- error_code: 405
--- response_headers
Allow: POST
--- response_body


=== TEST 13: methods of a task
--- request eval
["POST /echo/tasks/x\n{}", "PATCH /echo/tasks/x", "PUT /echo/tasks/x\n{}"]
--- error_code eval
[(405) x 3]
--- response_headers eval
[("Allow: GET, HEAD, DELETE") x 3]
--- response_body eval
[($::not_allowed) x 3]


=== TEST 14: a location within a location that passes, and one that does not
--- request eval
["GET /nested/", "GET /nested/echo/", "GET /nested/none/"]
--- error_code eval
[200, 200, 404]
--- response_body_like eval
['"service_name":"greeting"', '"service_name":"echo"', '<html>']


=== TEST 15: deny
--- raw_request eval: ::post('/denied/process_message', 'denied')
--- error_code: 403


=== TEST 16: limit_req
--- request eval
["GET /limited/", "GET /limited/"]
--- error_code eval
[200, 503]


=== TEST 17: auth_basic without credentials
--- raw_request eval: ::post('/known/process_message', 'unknown')
--- error_code: 401


=== TEST 18: auth_basic with credentials
--- raw_request eval
::post('/known/process_message', 'known', ['Authorization: Basic YWRhOnBhc3M='])
--- response_body chop
null


=== TEST 19: auth_request refuses
--- raw_request eval: ::post('/asked/process_message', 'refused')
--- error_code: 403


=== TEST 20: auth_request allows
--- raw_request eval: ::post('/asked/process_message', 'asked', ['X-Key: yes'])
--- response_body chop
null


=== TEST 21: an internal location from without
--- raw_request eval: ::post('/inner/process_message', 'outside')
--- error_code: 404


=== TEST 22: an internal location by a rewrite
--- raw_request eval: ::post('/outer/process_message', 'inner')
--- response_body chop
null


=== TEST 23: "if" in the location
--- raw_request eval
::post('/conditional/process_message?name=x', 'conditional')
--- response_body chop
null


=== TEST 24: the service with "if" in the location
--- request eval
["GET /conditional/?name=x", "GET /conditional/", "GET /conditional/x?name=x"]
--- error_code eval
[200, 200, 404]
--- response_body_like eval
['"service_name":"echo"', '"service_name":"echo"', 'Not Found']


=== TEST 25: limit_except in the location
--- raw_request eval: ::post('/readers/process_message', 'readers')
--- response_body chop
null


=== TEST 26: as a subrequest's part of a page
--- request
GET /page/
--- response_body_like eval
qr/^\Q{"service_name":"echo"\E.*It works!.*\Q{"detail":"Task not found"}\E$/s


=== TEST 27: as a subrequest that decides
--- request eval
["GET /open/", "GET /closed/"]
--- error_code eval
[200, 500]
--- response_body_like eval
['It works!', '500 Internal Server Error']


=== TEST 28: a message that is mirrored, and its original
--- raw_request eval: ::post('/copied/process_message', 'copied')
--- response_body chop
null


=== TEST 29: a message that is mirrored from a file
--- raw_request eval: ::post('/copied-file/process_message', 'copied-file')
--- response_body chop
null


=== TEST 30: a mirror without the body
--- raw_request eval: ::post('/not-copied/process_message', 'not-copied')
--- response_body chop
null
