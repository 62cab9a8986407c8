# Bodies as they come: in pieces, chunked, slow, pipelined, never to the end;
# and requests whose answer Redis owes.

use strict;
use warnings;

use File::Temp ();
use Test::More;
use Workflow;
use Workflow::Connection;

my $redis = Workflow::Redis->new;
my $http2_port = Workflow::free_port();
my $nginx = Workflow::Nginx->new(http => <<"HTTP", locations => <<"LOCATIONS");
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks {
    url @{[ $redis->url ]};
    command_timeout 2s;
}
workflow_service echo { workflow echo; queue tasks; max_message_size 4m; }
workflow_service small { workflow echo; queue tasks; max_message_size 1k; }
client_max_body_size 8m;
HTTP
listen 127.0.0.1:$http2_port http2;
location /echo/ { workflow_pass echo; }
location /small/ { workflow_pass small; }
location /tiny/ {
    client_body_buffer_size 1k;
    workflow_pass echo;
}
location /file/ {
    client_body_in_file_only on;
    client_body_buffer_size 1k;
    workflow_pass echo;
}
location /slow/ { client_body_timeout 300ms; workflow_pass echo; }
LOCATIONS

# A task's message with an argument of so many bytes, and what comes of it.

sub task {
    my ($id, $size) = @_;
    return new_task($id, { arg1 => 'x' x ($size // 10) });
}

sub result_ok {
    my ($id, $size, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $task = wait_for {
        my $content = get("/echo/tasks/$id")->{content};
        $content =~ /"status":"(?:completed|failed)"/ ? $content : undef;
    } 10, "task $id to end";

    my ($result) = $task =~ /"result":"(x*)_result"/;
    is(length $result // '', $size // 10, "$name, result");
}

sub request {
    my ($location, $body, @headers) = @_;
    return Workflow::Connection::text('POST', "/$location/process_message",
        $body, @headers);
}

sub accepted {
    my ($c, $name) = @_;
    my $r = $c->answer;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply([ $r->{status}, $r->{content} ], [ 200, 'null' ], $name);
}

sub unavailable {
    my ($r, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($r->{status}, 503, $name);
    like($r->{headers}{'retry-after'}, qr/^[1-9]\d*$/, "$name, Retry-After");
    is_deeply(from_json($r->{content}),
        { detail => 'Redis cannot be reached' }, "$name, detail");
}

# Open descriptors of the workers, when there are no connections of clients.

sub descriptors {
    return join ' ', map { scalar(() = glob "/proc/$_/fd/*") } $nginx->workers;
}

sub get {
    my ($path) = @_;
    my $c = Workflow::Connection->new($nginx);
    $c->send(Workflow::Connection::text('GET', $path, undef,
        Connection => 'close'));
    return $c->answer;
}

# each worker has three connections to Redis

wait_for { $redis->redis->info->{connected_clients} == 1 + 2 * 3 } 10,
    "the workers' connections to Redis";
my @workers = $nginx->workers;
my $before = descriptors();


# Where nginx puts a body, and how it comes

for my $location ('echo', 'tiny', 'file') {
    for my $size (1, 1000, 20000, 300000, 3000000) {
        my $id = "$location-$size";
        my $c = Workflow::Connection->new($nginx);

        $c->send(request($location, task($id, $size), Connection => 'close'));
        accepted($c, "$id, length");
        result_ok($id, $size, "$id, length");

        next if $size > 300000;
        $c = Workflow::Connection->new($nginx);
        $c->send(request($location, Workflow::Connection::chunked(
            task("$id-c", $size), 777), 'Transfer-Encoding' => 'chunked'));
        accepted($c, "$id, chunks");
        result_ok("$id-c", $size, "$id, chunks");
        $c->close;
    }
}

my @files = glob $nginx->dir . '/temp/body/*';
is(@files, 0, 'no body went through a file');

my $c = Workflow::Connection->new($nginx);
$c->send(request('echo', task('1.0'), version => '1.0'));
accepted($c, 'HTTP/1.0');
ok($c->closed, 'HTTP/1.0, the connection is closed');
result_ok('1.0', 10, 'HTTP/1.0');

$c = Workflow::Connection->new($nginx);
$c->send(request('echo', task('1.0-k'), version => '1.0',
    Connection => 'keep-alive'));
accepted($c, 'HTTP/1.0, keep-alive');
$c->send(request('tiny', task('1.0-l'), version => '1.0'));
accepted($c, 'HTTP/1.0, a second one');
ok($c->closed, 'HTTP/1.0, the connection is closed then');
result_ok($_, 10, $_) for '1.0-k', '1.0-l';

$c = Workflow::Connection->new($nginx);
$c->send(request('echo', '', 'Content-Length' => 0));
is($c->answer->{status}, 422, 'no body');
$c->send(request('echo', Workflow::Connection::chunked('', 1),
    'Transfer-Encoding' => 'chunked'));
is($c->answer->{status}, 422, 'no chunk, on the same connection');
$c->send(request('echo', task('kept', 5000)));
accepted($c, 'a body on the same connection');
result_ok('kept', 5000, 'on the same connection');

# byte by byte

my $text = request('tiny', task('drops', 100));
$c->send($_) for split //, $text;
accepted($c, 'byte by byte');
result_ok('drops', 100, 'byte by byte');


# Pipelined: a message that is refused, a page and a task among others

my $inbox = $redis->inbox('llama_deploy.control_plane');
$c = Workflow::Connection->new($nginx);
$c->send(request('echo', task('p1')), request('tiny', task('p2', 3000)),
    request('echo', '{bad'),
    Workflow::Connection::text('GET', '/echo/tasks/p1'),
    request('tiny', Workflow::Connection::chunked(task('p3', 3000), 100),
        'Transfer-Encoding' => 'chunked'),
    Workflow::Connection::text('GET', '/echo/nothing'),
    request('echo', task('p4')), request('echo', task('p4', 11)),
    Workflow::Connection::text('HEAD', '/echo/'),
    request('echo', task('p5'), Connection => 'close'));
my @answers = map { $c->answer(10, $_ == 9) } 1 .. 10;
is_deeply([ map { $_->{status} } @answers ],
    [ 200, 200, 422, 200, 200, 404, 200, 409, 200, 200 ],
    'pipelined, answered in order');
is(from_json($answers[3]{content})->{task_id}, 'p1', 'pipelined, the task');
ok($c->closed, 'pipelined, closed');
my %results = map { $_->{action} eq 'completed_task'
    ? ($_->{data}{task_id} => length $_->{data}{result}) : () }
    map { $inbox->json } 1 .. 2 * 5;
is_deeply(\%results, { p1 => 17, p2 => 3007, p3 => 3007, p4 => 17, p5 => 17 },
    'pipelined, results');

$c = Workflow::Connection->new($nginx);
$c->send(map { request('echo', task("many-$_")) } 1 .. 50);
is_deeply([ map { $c->answer->{status} } 1 .. 50 ], [ (200) x 50 ],
    '50 at once');
$inbox->next for 1 .. 2 * 50;
$c->close;
undef $inbox;


# Expect: 100-continue

$c = Workflow::Connection->new($nginx);
$c->send(request('echo', '', Expect => '100-continue',
    'Content-Length' => length task('expect')));
is($c->answer->{status}, 100, 'Continue');
$c->send(task('expect'));
accepted($c, 'the body after it');
result_ok('expect', 10, 'the body after it');
$c->close;


# HTTP/2

SKIP: {
    my $features = `curl --version 2>/dev/null` // '';
    skip 'curl has no HTTP/2', 10 if $features !~ /^Features:.*\bHTTP2\b/m;

    my $scratch = File::Temp->newdir(TMPDIR => 1);
    my $curl = sub {
        my ($path, $body, @options) = @_;
        my @data;

        if (defined $body) {
            open my $file, '>', "$scratch/body" or die "$scratch/body: $!";
            print $file $body;
            close $file or die "$scratch/body: $!";
            @data = ('--data-binary', "\@$scratch/body");
        }

        open my $out, '-|', 'curl', '-sS', '--max-time', 10,
            '--http2-prior-knowledge', '-w', "\n%{http_code} %{http_version}",
            @data, @options, '-H', 'Content-Type: application/json',
            "http://127.0.0.1:$http2_port$path" or die "curl: $!";
        local $/;
        return scalar <$out>;
    };

    for my $size (10, 20000, 300000) {
        for my $location ('echo', 'tiny') {
            my $id = "h2-$location-$size";
            is($curl->("/$location/process_message", task($id, $size)),
                "null\n200 2", "HTTP/2, $id");
            result_ok($id, $size, "HTTP/2, $id");
        }
    }

    is($curl->('/tiny/process_message', task('h2-c', 50000), '-H',
        'Content-Length:'), "null\n200 2", 'HTTP/2, no length');
    result_ok('h2-c', 50000, 'HTTP/2, no length');
    like($curl->('/echo/tasks/h2-c'), qr/"status":"completed".*\n200 2$/s,
        'HTTP/2, a task');
    like($curl->('/echo/process_message', '{bad'), qr/json_invalid.*\n422 2$/s,
        'HTTP/2, a bad message');
    is($curl->('/small/process_message', task('h2-l', 1100), '-H',
        'Content-Length:'),
        "{\"detail\":\"Request Entity Too Large\"}\n413 2",
        'HTTP/2, too large');
}


# Slow clients, and those that leave

$c = Workflow::Connection->new($nginx);
$c->send(request('slow', '{"act', 'Content-Length' => 100));
ok(!defined $c->answer, 'a body that stops coming');

for my $leave ('close', 'reset') {
    for my $request (request('echo', '{"act', 'Content-Length' => 100),
        request('tiny', '{"act' . 'x' x 5000, 'Content-Length' => 100000),
        request('echo', "5\r\n{\"act", 'Transfer-Encoding' => 'chunked'),
        "POST /echo/process_message HTTP/1.1\r\nHost: x\r\n")
    {
        my $c = Workflow::Connection->new($nginx);
        $c->send($request);
        $c->$leave;
    }
}

for my $bad ("x\r\n", "5\r\n12345678\r\n0\r\n\r\n", "fffffffffffffffff\r\n") {
    my $c = Workflow::Connection->new($nginx);
    $c->send(request('echo', $bad, 'Transfer-Encoding' => 'chunked'));
    is($c->answer->{status}, 400, 'a broken chunk');
}

is(get('/echo/')->{status}, 200, 'others are served');
is_deeply([ $nginx->workers ], \@workers, 'by the same workers');


# Redis does not answer: clients that leave, and those that stay

$inbox = $redis->inbox('llama_deploy.control_plane');
$redis->signal('STOP');

my $logged = length $nginx->log;

for my $leave ('close', 'reset') {
    for my $request (request('echo', task("left-$leave")),
        request('echo', task("twice-$leave")) x 2,
        Workflow::Connection::text('GET', '/echo/tasks/p1'))
    {
        my $c = Workflow::Connection->new($nginx);
        $c->send($request);
        $c->$leave;
    }
}

# their requests end before the answer is overdue

wait_for {
    6 == (() = substr($nginx->log, $logged)
        =~ /client prematurely closed connection/g);
} 1.5, 'six clients to be missed';
pass('that clients leave is noticed');

my $post = Workflow::Connection->new($nginx);
my $get = Workflow::Connection->new($nginx);
$post->send(request('echo', task('hung')));
$get->send(Workflow::Connection::text('GET', '/echo/tasks/p1'));
unavailable($post->answer, 'POST while Redis hangs');
unavailable($get->answer, 'GET while Redis hangs');
is(get('/echo/')->{status}, 200, 'the service is served');

$redis->signal('CONT');

# accepted or not, but nothing in between: sent again it runs, and once

sub retried {
    my ($id, $connection) = @_;
    wait_for {
        my $c = $connection // Workflow::Connection->new($nginx);
        $c->send(request('echo', task($id)));
        my $status = $c->answer->{status};
        die "status $status\n" if $status != 200 && $status != 503;
        $status == 200;
    } 10, "$id to be accepted";
}

retried('hung', $post);
wait_for {
    $get->send(Workflow::Connection::text('GET', '/echo/tasks/hung'));
    my $r = $get->answer;
    $r->{status} == 200 && from_json($r->{content})->{status} eq 'completed';
} 10, 'the task to be completed';
$get->close;
$post->close;

wait_for { $redis->redis->xlen('{llama_deploy.echo}:queue') == 0 } 10,
    'all that was accepted';
my %times;
$times{ $_->{data}{task_id} }++ for grep { $_->{action} eq 'completed_task' }
    map { from_json($_->[1]) } $inbox->drain(0.3);
is(delete $times{hung}, 1, 'it was run once');
is_deeply([ grep { $_ > 1 } values %times ], [],
    'and nothing else more than once');


# Redis is not there

$redis->stop('KILL');
$c = Workflow::Connection->new($nginx);
wait_for {
    $c->send(Workflow::Connection::text('GET', '/echo/tasks/p1'));
    $c->answer->{status} == 503;
} 10, 'the loss to be noticed';
$c->send(request('echo', task('lost')));
unavailable($c->answer, 'POST without Redis');
$c->send(Workflow::Connection::text('GET', '/echo/tasks/lost'));
unavailable($c->answer, 'GET without Redis');
$c->send(request('echo', '{bad'));
is($c->answer->{status}, 422, 'a bad message is a bad one also then');
$c->send(Workflow::Connection::text('GET', '/echo/'));
is($c->answer->{status}, 200, 'the service is served');
$c->close;

$redis->start;
wait_for {
    get('/echo/tasks/lost')->{status} == 404
} 20, 'Redis to be used again';
ok(!$redis->redis->keys('*:task:*'), 'what was refused is not there');
retried('lost');
result_ok('lost', 10, 'sent again');


# Nothing is left behind

is_deeply([ $nginx->workers ], \@workers, 'the workers are the same');
wait_for { descriptors() eq $before } 10, "$before descriptors of workers, not "
    . descriptors();
pass('no descriptor is left open');

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;


# A new worker's first requests wait for its connection to Redis

$redis->signal('STOP');
$nginx->start;
$c = Workflow::Connection->new($nginx);
$c->send(request('echo', task('early')));
ok(!eval { $c->answer(0.2) }, 'no answer before Redis has one');
$redis->signal('CONT');
accepted($c, 'an answer then');
$c->close;
result_ok('early', 10, 'the first request');

is($nginx->stop, 0, 'nginx ends again');
$nginx->log_ok;

done_testing;
