# Every allocation of the module, and every call to the kernel that it or
# hiredis makes, fails in turn while tasks are accepted, run, stream, wait, are
# answered, are tried again and end: each of them still ends, once, and by the
# same worker.  hiredis 0.14 does not check all of its allocations: where one of
# those fails the worker may die of it, and the tasks still end, once.

use strict;
use warnings;

use File::Temp ();
use Test::More;
use Time::HiRes qw(time);
use Workflow::Record;
use Workflow;
use Workflow::Connection;
use Workflow::Plugin;

use constant { ALLOCATIONS => 1, CALLS => 2, HIREDIS => 3 };

plan skip_all => 'sanitizers have an allocator of their own'
    if ($ENV{TEST_NGINX_BINARY} // '') =~ /\.sh$/;

my $dir = File::Temp->newdir('workflow-inject-XXXXXX', TMPDIR => 1);
chmod 0755, $dir;

system($ENV{CC} // 'cc', qw(-std=gnu99 -Wall -Wextra -Wpedantic -Werror -O2 -g
    -fPIC -shared -o), "$dir/inject.so", 't/inject/inject.c', '-ldl') == 0
    or BAIL_OUT('t/inject/inject.c does not compile');

# What the library and this test share: control_t.

open my $control, '+>', "$dir/control" or die "$dir/control: $!";
chmod 0666, "$dir/control";

sub control {
    my ($mode, $target) = @_;
    sysseek $control, 0, 0;
    syswrite $control, pack 'LLLLQ', $mode, $target, 0, 0, 0;
}

# The module's own functions, by name; others are of a library within its file.

sub ranges {
    my @ranges;

    open my $nm, '-|', 'nm', '-S', $ENV{TEST_NGINX_MODULE}
        // 'build/ngx_http_workflow_module.so' or die "nm: $!";

    for my $line (sort <$nm>) {
        my ($begin, $size) = $line
            =~ /^(\w+) (\w+) [tT] (?:ngx|wf)_/ or next;
        my $end = hex($begin) + hex $size;

        # what lies between functions is padding

        if (@ranges && hex($begin) < $ranges[-1][1] + 16) {
            $ranges[-1][1] = $end;
        } else {
            push @ranges, [hex $begin, $end];
        }
    }

    sysseek $control, 24, 0;
    syswrite $control, pack 'Q*', scalar @ranges, map { @$_ } @ranges;
    truncate $control, 24 + 8 + 1024 * 16;
    return scalar @ranges;
}

sub outcome {
    sysseek $control, 0, 0;
    sysread $control, my $bytes, 24;
    my (undef, undef, $count, $failed, $site) = unpack 'LLLLQ', $bytes;
    return { count => $count, failed => $failed, site => $site };
}

control(0, 0);

my $ranges = ranges();
ok($ranges > 0 && $ranges <= 1024, 'the module\'s code is known');

my @plugins = map { Workflow::Plugin->new($_) } qw(soak stairs);
my $redis = Workflow::Redis->new;

my @services = qw(stairs chain fan ask flaky);

my $nginx = Workflow::Nginx->new(workers => 1, log_level => 'warn',
    env => { LD_PRELOAD => "$dir/inject.so",
        INJECT_CONTROL => "$dir/control" },
    http => <<"HTTP",
@{[ map { 'workflow_load ' . $_->path . ";\n" } @plugins ]}
workflow_queue tasks { url @{[ $redis->url ]}; command_timeout 300ms; }
@{[ map { "workflow_service $_ { workflow $_; queue tasks; lease 1s;
    max_attempts 20; retry_delay 1ms; retry_delay_max 1ms; checkpoint 10ms;
    step_interval 20ms; }\n" } @services ]}
HTTP
    locations => join '', map { "location /$_ { workflow_pass $_; }\n" }
        @services);

$redis->subscribed(1, map { "llama_deploy.$_" } @services);

my $inbox = $redis->inbox('llama_deploy.control_plane');
my ($worker) = $nginx->workers;
my %completed;

sub take {
    for my $m (map { from_json($_->[1]) } $inbox->drain($_[0])) {
        $completed{ $m->{data}{task_id} }++ if $m->{action} eq 'completed_task';
    }
}

# Again until it is acknowledged, as a client does.  In one piece: a body that
# follows its header waits for the header's acknowledgement.

sub post {
    my ($service, $message) = @_;
    my $text = Workflow::Connection::text('POST', "/$service/process_message",
        $message, 'Content-Type' => 'application/json');

    wait_for {
        my $answer = eval {
            my $connection = Workflow::Connection->new($nginx);
            $connection->send($text);
            $connection->answer(5);
        };
        $answer && $answer->{status} =~ /^(?:200|409)$/;
    } 10, "$service to take a message";
}

sub state_of {
    my ($service, $id) = @_;
    return task_in($redis->redis, $service, $id)->{state} // '';
}

my $n = 0;

sub scenario {
    my ($mode, $target) = @_;
    my %tasks = map { $_ => "$_-$n" } @services;
    my $published = "published-$n";
    $n++;

    control($mode, $target);

    my %input = (stairs => { ms => 20 }, chain => { ms => 5 }, fan => { n => 2 },
        ask => {}, flaky => { fail => 1 });
    my %stairs = (events => 0, file => '/dev/null');
    post('stairs', new_task($tasks{stairs}, { %{ $input{stairs} }, %stairs }));

    # Beside another one: ended by a transaction.  It may be lost, and is sent
    # again then: Pub/Sub knows no better.

    my $message = message('new_task', { task_id => $published,
        session_id => undef, input => to_json(\%stairs) }, id_ => $published);
    wait_for {
        $redis->redis->publish('llama_deploy.stairs', $message);
        eval { wait_for { state_of('stairs', $published) } 0.3 };
    } 10, 'a published task';

    post($_, new_task($tasks{$_}, $input{$_})) for grep { $_ ne 'stairs' }
        @services;
    post('ask', human_response($tasks{ask}, 'yes', id_ => "r-$n"));

    my @ids = ($published, values %tasks);

    # sooner than a run's timeout, which would help a run that is stuck

    wait_for { take(0.004); !grep { !$completed{$_} } @ids } 6,
        'all tasks to complete';

    my $outcome = outcome();
    control(0, 0);
    take(0.002);

    $outcome->{wrong} = join ', ',
        map({ "$_ completed $completed{$_} times" }
            grep { $completed{$_} != 1 } @ids),
        map({ "$_ is " . state_of($_, $tasks{$_}) }
            grep { state_of($_, $tasks{$_}) ne 'completed' } @services);
    return $outcome;
}

for my $kind ([ALLOCATIONS, 'allocations', 240], [CALLS, 'calls', 80],
    [HIREDIS, 'allocations of hiredis', 120])
{
    my ($mode, $name, $most) = @$kind;

    scenario($mode, 0);
    my $count = scenario($mode, 0)->{count};
    cmp_ok($count, '>', 20, "$name are counted: $count");

    my $step = $count > $most ? $count / $most : 1;
    my ($failed, @wrong) = (0);

    for (my $target = 1; $target <= $count; $target += $step) {
        my $outcome = eval { scenario($mode, int $target) };
        my $what = $outcome ? $outcome->{wrong} : "$@";
        $outcome //= outcome();
        $failed += $outcome->{failed};
        control(0, 0);

        my $now = wait_for { ($nginx->workers)[0] } 10, 'a worker';
        $what ||= 'another worker' if $now != $worker && $mode != HIREDIS;
        $worker = $now;

        push @wrong, sprintf "%d, called at 0x%x: %s\n", $target,
            $outcome->{site}, $what if $what;
        last if @wrong > 2;
    }

    cmp_ok($failed, '>', 15, "$name: $failed failed");
    is(scalar @wrong, 0, "$name: every task has ended, once") or diag @wrong;
}

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok(qr/(?:malloc|posix_memalign)\([^)]*\) failed/,
    qr/epoll_ctl\(.*\) failed/, qr/dropped for want of memory/,
    qr/exited on signal/);

done_testing;
