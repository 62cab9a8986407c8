# valgrind finds no definite leak, and no wrong access, in all processes of an
# nginx that has run a thousand tasks, refused messages, lost Redis and been
# reloaded three times.

use strict;
use warnings;

use File::Temp ();
use Test::More;
use Workflow;
use Workflow::Load;
use Workflow::Plugin;

# an nginx of `make asan` is a script; valgrind and the sanitizers exclude each
# other, and those look for the same

open my $binary, '<', $ENV{TEST_NGINX_BINARY} // '/usr/sbin/nginx' or die $!;
read $binary, my $magic, 2;
plan skip_all => 'under the sanitizers' if $magic eq '#!';

my $probe = Workflow::Plugin->new('probe');
my $redis = Workflow::Redis->new(conf => "appendonly yes\n");
my $logs = File::Temp->newdir('workflow-valgrind-XXXXXX', TMPDIR => 1);
chmod 0777, "$logs";

my @examples = qw(echo progress counter ask fanout flaky sleeper);

my $http = "keepalive_requests 100000;\nworkflow_load @{[ $probe->path ]};\n"
    . "workflow_queue tasks { url @{[ $redis->url ]}; }\n"
    . "workflow_service value { workflow value; queue tasks; }\n"
    . "workflow_service twice { workflow twice; queue tasks; }\n"
    . join '', map { "workflow_load \@PLUGINS\@/$_.so;\n"
        . "workflow_service $_ { workflow $_; queue tasks; timeout 2s; }\n" }
        @examples;

my $nginx = Workflow::Nginx->new(workers => 1,
    under => [qw(valgrind --quiet --leak-check=full --trace-children=yes
        --show-leak-kinds=definite --errors-for-leak-kinds=definite
        --keep-debuginfo=yes --num-callers=30 --suppressions=t/valgrind.supp),
        "--log-file=$logs/%p"],
    http => $http,
    locations => join '', map { "location /$_/ { workflow_pass $_; }\n" }
        @examples, qw(value twice));

my @topics = map { "llama_deploy.$_" } @examples, qw(value twice);

my $follower;

sub submit {
    my ($service, @messages) = @_;
    my $status = Workflow::Load::post($nginx->port,
        "/$service/process_message", \@messages, 60);
    is_deeply($status, { 200 => scalar @messages }, "$service: accepted");
}

sub ids { return map { "$_[0]-$_" } 1 .. $_[1] }

sub round {
    my ($round) = @_;

    $redis->subscribed(1, @topics);
    $follower = Workflow::Load::Follower->new($redis->port,
        'llama_deploy.control_plane');

    my %inputs = (
        echo => { arg1 => 'x' x 300 }, progress => { arg1 => 'x' },
        counter => {}, fanout => { n => 12 }, flaky => { fail => 1 },
        sleeper => { ms => 1 }, value => { json => '[1, {"a": 2}]',
            stream => [{ a => 1 }, { b => 2 }] });
    my $count = 0;

    for my $service (sort keys %inputs) {
        my @ids = ids("$round-$service", 25);
        submit($service, map { new_task($_, $inputs{$service},
            session_id => 'session') } @ids);
        Workflow::Load::publish($redis->port, "llama_deploy.$service",
            [map { new_task("p-$_", $inputs{$service}) } @ids], 60);
        $count += 50;
    }

    # failing ones, and a timeout

    submit(echo => map { new_task($_, {}) } ids("$round-wrong", 10));
    submit(sleeper => new_task("$round-slow", { ms => 60000 }));
    $count += 11;

    # those that wait, with events before, behind and after them

    my @asked = ids("$round-ask", 10);
    Workflow::Load::publish($redis->port, 'llama_deploy.ask',
        [map { human_response($_, 'early') } @asked[0 .. 4]], 60);
    submit(ask => map { new_task($_, {}) } @asked);
    submit(ask => map { human_response($_, 'late') } @asked[5 .. 9]);
    submit(twice => map { new_task("$_-twice", {}) } @asked);
    submit(twice => map { human_response("$_-twice", $_) } (@asked) x 2);
    $count += 20;

    # refused ones

    for my $bad ('{', '[]', '{"action": "new_task", "data": {"input": "["}}',
        send_event('x', 'module.Class', {}), '')
    {
        is(http_post($nginx->url('/echo/process_message'), $bad)->{status},
            422, 'refused');
        $redis->redis->publish('llama_deploy.echo', $bad);
    }

    Workflow::Load::publish($redis->port, 'llama_deploy.echo',
        [map { new_task($_, '[') } ids("$round-bad", 10)], 60);
    $count += 10;

    is(http_post($nginx->url('/ask/process_message'),
        human_response('nobody', 'x'))->{status}, 404, 'unknown');
    is(http_get($nginx->url('/echo/'))->{status}, 200, 'GET /');
    is(http_get($nginx->url("/echo/tasks/$round-wrong-1"))->{status}, 200,
        'GET tasks');

    ok(eval { $follower->follow($count, 60); 1 }, "$count tasks end")
        || diag($@);
    return $count;
}

my $total = 0;

for my $round (1 .. 3) {
    $total += round($round);

    if ($round == 2) {

        # with runs and requests under way

        submit(sleeper => map { new_task($_, { ms => 400 }) } ids('cut', 10));
        $redis->stop;
        is(http_post($nginx->url('/echo/process_message'),
            new_task('cut', { arg1 => 'x' }))->{status}, 503, '503 meanwhile');
        $redis->start;
    }

    $nginx->reload(60);
}

$total += round('last');
cmp_ok($total, '>=', 1000, 'a thousand tasks');

is($nginx->stop('QUIT', 60), 0, 'nginx ends');
$nginx->log_ok;

my @files = glob "$logs/*";
cmp_ok(scalar @files, '>=', 5, 'a master and four workers were watched');

for my $name (@files) {
    open my $file, '<', $name or die "$name: $!";
    local $/;
    my $text = <$file> // '';
    is($text, '', 'valgrind is silent');
}

done_testing;
