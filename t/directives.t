# Each directive does what it says.

use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);
use Workflow;
use Workflow::Plugin;

my $probe = Workflow::Plugin->new('probe');
my $redis = Workflow::Redis->new(conf => <<'CONF');
user workflow on >s3cret/@% ~* &* +@all
CONF

my $url = $redis->url;
my $services = <<"HTTP";
workflow_service echo { workflow echo; queue tasks; }
workflow_service polls { workflow echo; queue tasks; step_interval 300ms; }
workflow_service waits { workflow echo; queue tasks; step_interval 1h; }
workflow_service three { workflow gauge; queue tasks; max_concurrent_tasks 3; }
workflow_service short { workflow sleeper; queue tasks; timeout 500ms; }
workflow_service forgets {
    workflow ask; queue tasks; result_ttl 1s; event_ttl 1s; }
workflow_service keeps { workflow ask; queue tasks; }
workflow_service off {
    workflow ask; queue tasks; running off; max_events 2; max_queued 2; }
workflow_service small { workflow echo; queue tasks; max_message_size 512; }
workflow_service raises { workflow echo; queue tasks; raise_exceptions on; }
workflow_service fails { workflow echo; queue tasks; }
workflow_service pool2 {
    workflow gauge; queue other; thread_pool two; max_concurrent_tasks 16; }
workflow_service pool5 {
    workflow gauge2; queue other; thread_pool five; max_concurrent_tasks 16; }
workflow_service other { workflow echo; queue other; }
workflow_service numbered { workflow echo; queue numbered; }
workflow_service local { workflow echo; queue local; }
workflow_service named { workflow echo; queue named; }
workflow_service encoded { workflow echo; queue encoded; }
workflow_service wrong { workflow echo; queue wrong; }
HTTP

my $locations = join '', map { "location /$_/ { workflow_pass $_; }\n" }
    $services =~ /^workflow_service (\w+)/mg;

$locations .= <<'LOCATIONS';
location /a/long/way/ {
    rewrite ^/a/long/way/to/(.*) /$1 break;
    workflow_pass echo;
}
LOCATIONS

my $nginx = Workflow::Nginx->new(workers => 1, locations => $locations,
    main => "thread_pool two threads=2;\nthread_pool five threads=5;\n",
    http => <<"HTTP");
workflow_zone 192k;
workflow_load @{[ $probe->path ]};
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/ask.so;
workflow_load \@PLUGINS\@/sleeper.so;
workflow_load \@PLUGINS\@/flaky.so;
workflow_queue tasks { url $url; }
workflow_queue other { url $url; topic_namespace name.of_its-own; }
workflow_queue numbered { url redis://127.0.0.1:@{[ $redis->port ]}/3; }
workflow_queue local { url unix:@{[ $redis->socket ]}?db=2; }
workflow_queue named { url $url; username workflow; password "s3cret/\@%"; }
workflow_queue encoded {
    url redis://workflow:s3cret%2F%40%25\@127.0.0.1:@{[ $redis->port ]}/5;
}
workflow_queue wrong { url $url; username workflow; password Wr0ng; }
$services
HTTP

my $inbox = $redis->inbox('llama_deploy.control_plane');
my $r = $redis->redis;

sub post {
    my ($service, $message) = @_;
    return http_post($nginx->url("/$service/process_message"), $message);
}

sub submit {
    my ($service, $id, $input) = @_;
    my $answer = post($service, new_task($id, $input));
    $answer->{status} == 200 or die "$service: $answer->{content}";
}

sub task {
    my ($service, $id) = @_;
    my $answer = http_get($nginx->url("/$service/tasks/$id"));
    return $answer->{status} == 200 ? from_json($answer->{content})
        : { status => $answer->{status} };
}

sub ended {
    my ($service, $id, $seconds) = @_;
    return wait_for { my $task = task($service, $id);
        $task->{status} =~ /queued|running|waiting/ ? undef : $task }
        $seconds // 10, "the end of $service/$id";
}

# A task as the script makes it, but that nobody is told of.

sub put_by_hand {
    my ($service, $id) = @_;
    my $prefix = "{llama_deploy.$service}:";

    $r->eval(<<'LUA', 2, "${prefix}queue", "${prefix}task:$id", $id);
local input = '{"arg1": "x"}'
local entry = redis.call('XADD', KEYS[1], '*', 'task', ARGV[1], 'input', input)
redis.call('SET', KEYS[2], 'queued ' .. entry .. ' - 0 0 0 - - 0 - -\n')
LUA
}

wait_for { task('echo', 'x')->{status} == 404 } 10, 'Redis';


# step_interval

put_by_hand('waits', 'slow');

my @times;
for (1 .. 4) {
    put_by_hand('polls', "poll$_");
    ended('polls', "poll$_");
    push @times, time;
}

my $took = $times[3] - $times[0];
ok($took > 0.6 && $took < 3, 'found by the next poll, three times')
    || diag("after $took seconds");

is(task('polls', 'poll1')->{result}, 'x_result', 'and run');
is(task('waits', 'slow')->{status}, 'queued', 'step_interval 1h');

my $began = time;
$r->rpush('{llama_deploy.waits}:bell', 1);
ended('waits', 'slow');
cmp_ok(time - $began, '<', 2, 'the bell ends the wait');

for (['waits', '3600.0'], ['polls', '0.3'], ['echo', '0.1']) {
    my ($service, $interval) = @$_;
    is(from_json(http_get($nginx->url("/$service/"))->{content})
        ->{step_interval}, $interval, "GET /$service/ tells it");
}


# max_concurrent_tasks, thread_pool

sub most {
    my ($service, $namespace) = @_;
    my $topic = ($namespace // 'llama_deploy') . ".$service";
    $redis->subscribed(1, $topic);
    $r->publish($topic, new_task("$service$_", { us => 100_000 })) for 1 .. 12;
    wait_for { task($service, "${service}12")->{status} ne '404' } 10, $topic;
    my ($most) = sort { $b <=> $a }
        map { ended($service, "$service$_")->{result}{max} } 1 .. 12;
    return $most;
}

is(most('three'), 3, 'max_concurrent_tasks 3: three at a time');
$nginx->reload;    # the counts of gauge are a process' own
is(most('pool2', 'name.of_its-own'), 2, 'a pool of two threads');
is(most('pool5', 'name.of_its-own'), 5, 'a pool of five threads');


# timeout

$began = time;
submit('short', 'long', { ms => 60000 });
is(ended('short', 'long')->{error}, 'Operation timed out after 0.5 seconds',
    'timeout 500ms');
$took = time - $began;
ok($took > 0.45 && $took < 5, 'in time') || diag($took);

my ($last) = grep { $_->{action} eq 'completed_task' } $inbox->task('long');
is($last->{data}{result}, 'Operation timed out after 0.5 seconds',
    'that is its result');


# result_ttl

submit('forgets', 'forgotten', {});
wait_for { task('forgets', 'forgotten')->{status} eq 'waiting' } 10, 'ask';
is($r->ttl('{llama_deploy.forgets}:task:forgotten'), -1, 'kept while it waits');
post('forgets', human_response('forgotten', '1'));
is(ended('forgets', 'forgotten')->{result}, '1', 'its result');
$began = time;
wait_for { task('forgets', 'forgotten')->{status} eq '404' } 5, 'its time';
$took = time - $began;
ok($took > 0.5 && $took < 4, 'result_ttl 1s') || diag($took);

submit('echo', 'kept', { arg1 => 'a' });
ended('echo', 'kept');
my $ttl = $r->ttl('{llama_deploy.echo}:task:kept');
ok($ttl > 3500 && $ttl <= 3600, 'result_ttl is 1h otherwise') || diag($ttl);


# event_ttl: events that come by Pub/Sub before their task

$redis->subscribed(1, 'llama_deploy.forgets', 'llama_deploy.keeps');
$r->publish("llama_deploy.$_", human_response('early', '42'))
    for qw(forgets keeps);
wait_for { $r->exists('{llama_deploy.keeps}:events:early') } 5, 'the event';
$ttl = $r->ttl('{llama_deploy.keeps}:events:early');
ok($ttl > 500 && $ttl <= 600, 'event_ttl is 10m otherwise') || diag($ttl);
wait_for { !$r->exists('{llama_deploy.forgets}:events:early') } 5, 'event_ttl';

submit($_, 'early', {}) for qw(forgets keeps);
is(ended('keeps', 'early')->{result}, '42', 'an early event is used');
wait_for { task('forgets', 'early')->{status} eq 'waiting' } 5, 'early';
pass('event_ttl 1s: it is gone');


# running, max_events, max_queued

submit('off', 'off1', {});
submit('off', 'off2', {});
my $answer = post('off', new_task('off3', {}));
is($answer->{status}, 503, 'max_queued 2: the third is refused');
is($answer->{headers}{'retry-after'}, 1, 'for now');
is(task('off', 'off3')->{status}, 404, 'entirely');

is(post('off', human_response('off1', $_))->{status}, 200, "event $_")
    for 1 .. 2;
is(post('off', human_response('off1', 3))->{status}, 503,
    'max_events 2: the third is refused');
is($r->llen('{llama_deploy.off}:events:off1'), 2, 'entirely');

submit('echo', 'on', { arg1 => 'a' });
ended('echo', 'on');
is(task('off', 'off1')->{status}, 'queued', 'running off: nothing is run');

my $status = from_json(http_get($nginx->url('/off/'))->{content});
is($status->{running}, 'False', 'GET / tells so');
is($status->{num_outstanding_calls}, 2, 'and counts');


# max_message_size

sub message_of {
    my ($size) = @_;
    my $least = length new_task("size$size", { arg1 => '' });
    return new_task("size$size", { arg1 => 'x' x ($size - $least) });
}

is(post('small', message_of(512))->{status}, 200, 'max_message_size');
$answer = post('small', message_of(513));
is($answer->{status}, 413, 'one byte more');
is($answer->{content}, '{"detail":"Request Entity Too Large"}', 'is too large');

$redis->subscribed(1, 'llama_deploy.small');
$r->publish('llama_deploy.small', message_of(514));
wait_for { $nginx->log =~ /"small": a message of 514 bytes .* is larger than/ }
    5, 'a line in the log';
is(task('small', 'size514')->{status}, 404, 'by Pub/Sub, too');


# raise_exceptions

$inbox->drain(0.05);
submit($_, "$_-1", { arg2 => 1 }) for qw(raises fails);
is(ended('raises', 'raises-1')->{status}, 'dead', 'raise_exceptions on');
is(ended('fails', 'fails-1')->{status}, 'failed', 'raise_exceptions off');

my $error = "Error in step 'echo': arg1 is required.";
is(task('raises', 'raises-1')->{error}, $error, 'its error');
like($nginx->log, qr/\[error\].*task "raises-1" failed: \Q$error/, 'is logged');

my %actions;
push @{ $actions{$_->{data}{task_id}} }, $_->{action}
    for map { from_json($_->[1]) } $inbox->drain;
is_deeply([grep { $_ eq 'completed_task' } @{ $actions{'raises-1'} // [] }], [],
    'no completed_task');
is((grep { $_ eq 'completed_task' } @{ $actions{'fails-1'} }), 1,
    'but without it');

my $dead = $r->xrange('{llama_deploy.raises}:dead', '-', '+');
is(@$dead, 1, 'one entry in the dead-letter stream');
my %entry = @{ $dead->[0][1] };
is($entry{task}, 'raises-1', 'of the task');
is($entry{error}, $error, 'with the error');
is_deeply(from_json($entry{input}), { arg2 => 1 }, 'and the input');
is($r->exists('{llama_deploy.fails}:dead'), 0, 'none otherwise');
is($r->xlen('{llama_deploy.raises}:queue'), 0, 'not in the queue any more');


# workflow_pass in a location that changes the path, to a shorter one

is(from_json(http_get($nginx->url('/a/long/way/to/'))->{content})
    ->{service_name}, 'echo', 'rewrite to /');
is(post('a/long/way/to', new_task('rewritten', { arg1 => 'a' }))->{status}, 200,
    'rewrite to /process_message');
is(ended('echo', 'rewritten')->{result}, 'a_result', 'and run');
is(http_get($nginx->url('/a/long/way/to/x'))->{status}, 404, 'rewrite to /x');
is(http_get($nginx->url('/a/long/way/'))->{status}, 200, 'not rewritten');


# topic_namespace

my $other = $redis->inbox('name.of_its-own.control_plane');
$inbox->drain(0.05);
$redis->subscribed(1, 'name.of_its-own.other');
$r->publish('name.of_its-own.other', new_task('named', { arg1 => 'a' }));
is(($other->task('named'))[-1]{data}{result}, 'a_result', 'topic_namespace');
is($r->exists('{name.of_its-own.other}:task:named'), 1, 'in the keys, too');
is_deeply([$inbox->drain(0.1)], [], 'nothing elsewhere');


# url: database, unix socket, user and password

sub works {
    my ($service, $database, $name) = @_;
    submit($service, 'db', { arg1 => 'a' });
    is(ended($service, 'db')->{result}, 'a_result', $name);
    $r->select($database);
    is($r->exists("{llama_deploy.$service}:task:db"), 1, "$name: in $database");
    $r->select(0);
}

works('numbered', 3, 'database 3');
works('local', 2, 'unix socket');
works('named', 0, 'username and password');
works('encoded', 5, 'user and password in the URL');

is(post('wrong', new_task('w', {}))->{status}, 503, 'a wrong password');
like($nginx->log, qr/redis .*: refused: WRONGPASS /, 'the log says so');
unlike($nginx->log, qr/Wr0ng|s3cret/, 'but not which');


# workflow_zone: nginx maps /dev/zero for it

sub zones {
    my ($server) = @_;
    my ($worker) = $server->workers;
    open my $maps, '<', "/proc/$worker/maps" or die "maps: $!";
    no warnings 'portable';
    return grep { $_ > 4096 } map {
        m{^(\w+)-(\w+) rw-s .* /dev/zero} ? hex($2) - hex($1) : () } <$maps>;
}

is_deeply([zones($nginx)], [192 * 1024], 'workflow_zone 192k');

is($nginx->stop('QUIT'), 0, 'nginx ends');
$nginx->log_ok;


# connect_timeout: a server whose queue of connections is full

{
    my $full = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
        or die "listen: $!";
    my @waiting;

    while (1) {
        my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
            PeerPort => $full->sockport, Timeout => 0.3) or last;
        push @waiting, $client;
    }

    my $stuck = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks {
    url redis://127.0.0.1:@{[ $full->sockport ]}; connect_timeout 400ms; }
workflow_service echo { workflow echo; queue tasks; }
HTTP
        locations => 'location / { workflow_pass echo; }');
    my $start = time;

    wait_for { $stuck->log =~ /\(commands\): connecting timed out/ } 4,
        'connect_timeout';
    ok(time - $start < 4, 'connect_timeout 400ms');
    is_deeply([zones($stuck)], [128 * 1024], '128k without a workflow_zone');
    $stuck->stop;
    $stuck->log_ok;
}


# command_timeout: a Redis that has stopped

{
    my $hangs = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url $url; command_timeout 400ms; }
workflow_service echo { workflow echo; queue tasks; running off; }
HTTP
        locations => 'location / { workflow_pass echo; }');

    wait_for { http_get($hangs->url('/tasks/x'))->{status} == 404 } 10, 'Redis';
    $redis->signal('STOP');

    my $start = time;
    my $late = http_post($hangs->url('/process_message'), new_task('h', {}));
    my $seconds = time - $start;
    is($late->{status}, 503, 'no answer from Redis');
    ok($seconds > 0.3 && $seconds < 4, 'command_timeout 400ms')
        || diag($seconds);
    wait_for { $hangs->log =~ /\(commands\): no answer in time, dropping/ } 5,
        'the connection to be dropped';

    $redis->signal('CONT');
    wait_for { http_get($hangs->url('/tasks/x'))->{status} == 404 } 10,
        'Redis again';
    $hangs->stop;
    $hangs->log_ok;
}

done_testing;
