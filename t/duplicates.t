# What comes twice is run once: the same message, by Pub/Sub and by HTTP, to two
# NGINXes on one Redis; one of which is killed; whose clocks disagree.

use strict;
use warnings;

use POSIX ();
use Test::More;
use Time::HiRes qw(time sleep);
use Workflow;
use Workflow::Fault;
use Workflow::Plugin;

my $t = Workflow::Fault->new(service => <<'SERVICE');
max_concurrent_tasks 4; checkpoint 20ms; lease 1s; retry_delay 500ms;
SERVICE
my $a = $t->nginx;
my $b = $t->new_nginx;

sub ran_once {
    my ($name, @ids) = @_;
    my @more = grep { my %n; grep { $_ > 1 } map { ++$n{$_} } $t->steps($_) }
        @ids;
    is_deeply(\@more, [], "$name: no step has run twice");
}

# Four workers hear each message; it is published twice, at once and later, and
# posted to both.

my @ids;

for my $n (1 .. 30) {
    push @ids, my $id = "twice-$n";
    $t->publish($id, steps => 1 + $n % 3, events => $n % 3) for 1 .. 2;
    $t->publish($id, %{ $t->{inputs}{$id} });
    is($t->submit($id, %{ $t->{inputs}{$id} }, nginx => $_), 200, "$id again")
        for $n == 1 ? ($a, $b) : ();
}

$t->once_ok('messages twice', @ids);
$t->publish($_, %{ $t->{inputs}{$_} }) for @ids;
is($t->submit($_, %{ $t->{inputs}{$_} }, nginx => $b), 200,
    "$_ after it has ended") for @ids[0, 1];
is($t->post(new_task($ids[0], { arg1 => 'other' })), 409,
    'with another input: 409');
$t->once_ok('messages after the end', @ids);
ran_once('messages twice', @ids);

# An answer that comes twice, by the same message: one by each NGINX, one by
# Pub/Sub, which all four hear.

my @asked = map { $t->accept("asked-$_", ask => 1,
    nginx => $_ % 2 ? $a : $b) } 1 .. 6;
$t->is_in('waiting', @asked);

for my $id (@asked) {
    my $answer = human_response($id, 'y', id_ => "answer-$id");
    $t->client->publish('llama_deploy.stairs', $answer);
    is($t->post($answer, $_), 200, "$id: the same answer") for $a, $b;
}

$t->once_ok('answers twice', @asked);
ran_once('answers twice', @asked);

# Both claim: load on two NGINXes.

@ids = map { $t->accept("both-$_", steps => 3, ms => 20, events => 2,
    nginx => $_ % 2 ? $a : $b) } 1 .. 60;
$t->once_ok('two NGINXes', @ids);
ran_once('two NGINXes', @ids);
my %pids = map { $t->last_pid($_) => 1 } @ids;
cmp_ok(scalar(grep { $pids{$_} } $a->workers), '>', 0, 'the one had tasks');
cmp_ok(scalar(grep { $pids{$_} } $b->workers), '>', 0, 'the other, too');

# One is killed, master and workers; the other takes over.  Its workers are
# children of ours for a moment: a zombie is a process.

sub bury {
    my ($nginx) = @_;
    my @pids = $nginx->workers;
    my %prctl = (x86_64 => 157, aarch64 => 167);

    syscall($prctl{(POSIX::uname())[4]}, 36, 1, 0, 0, 0) == 0
        or die "prctl: $!";
    kill 'KILL', $nginx->pid;
    waitpid $nginx->pid, 0;
    kill 'KILL', @pids;
    waitpid $_, 0 for @pids;
    $nginx->{pid} = 0;
}

sub of {
    my ($nginx, @ids) = @_;
    my %pids = map { $_ => 1 } $nginx->workers;
    return grep { $pids{ $t->last_pid($_) } } @ids;
}

@ids = map { $t->accept("killed-$_", steps => 2, ms => 400, events => 2) }
    1 .. 16;
$t->is_in('running', @ids);
my @its = of($a, @ids);
cmp_ok(scalar @its, '>', 0, 'it runs tasks');
$t->reaches($_, '1/1') for @its;
bury($a);
$t->once_ok('one of two is killed', @ids);
is($t->field($_, 'attempts'), 2, "$_ is taken over") for @its;
$a->log_ok;

# One stands still, as if its machine had gone: its tasks are taken over when
# their leases end, and what it sends when it is back is not taken.

$t->{nginx} = $a = $t->new_nginx;
@ids = map { $t->accept("still-$_", steps => 2, ms => 400, events => 2) }
    1 .. 16;
$t->is_in('running', @ids);
@its = of($a, @ids);
cmp_ok(scalar @its, '>', 0, 'it runs tasks');
$t->reaches($_, '1/1') for @its;
my @stopped = ($a->pid, $a->workers);
kill 'STOP', @stopped;
my $begin = time;
sleep 0.5;
is(scalar(of($a, @its)), scalar @its, 'they are not taken before their time');
$t->{nginx} = $b;
wait_for { !of_pids($stopped[1], $stopped[2], @its) } 10, 'takeover';
cmp_ok(time - $begin, '<', 3, 'when their leases end');
kill 'CONT', @stopped;
$t->once_ok('one of two stands still', @ids);
is($t->field($_, 'attempts'), 2, "$_ is taken over") for @its;
$t->{nginx} = $a;

sub of_pids {
    my ($one, $other, @ids) = @_;
    return grep { my $pid = $t->last_pid($_);
        $pid == $one || $pid == $other } @ids;
}

# Clocks: a third and a fourth NGINX live an hour in the past and in the future;
# leases, retries and waiting go by Redis' clock.

my $preload = Workflow::Plugin->compile($t->{dir} . '/clock.so', <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t
shift(void)
{
    const char  *text = getenv("CLOCK_SHIFT");

    return text ? atol(text) : 0;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    struct timespec  ts;

    (void) tz;

    if (clock_gettime(CLOCK_REALTIME, &ts) != 0) {
        return -1;
    }

    tv->tv_sec = ts.tv_sec + shift();
    tv->tv_usec = ts.tv_nsec / 1000;

    return 0;
}

time_t
time(time_t *t)
{
    struct timeval  tv;

    (void) gettimeofday(&tv, NULL);

    if (t) {
        *t = tv.tv_sec;
    }

    return tv.tv_sec;
}
C

my @odd = map { $t->new_nginx(main => 'env CLOCK_SHIFT; env LD_PRELOAD;',
    env => { LD_PRELOAD => $preload, CLOCK_SHIFT => $_ }) } -3600, 3600;

SKIP: {
    my @hours = map { my $date = http_get($_->url('/'))->{headers}{date};
        $date =~ / (\d\d):\d\d:\d\d / ? $1 : '' } $odd[0], $a, $odd[1];
    skip 'clocks cannot be set here', 2 if $hours[0] eq $hours[1];
    isnt($hours[$_], $hours[1], 'the clock is wrong') for 0, 2;
}

my @four = ($a, $b, @odd);
@ids = map { $t->accept("clock-$_", steps => 3, ms => 500, events => 2,
    fail => $_ % 3 ? 0 : 1, ask => $_ % 4 ? 0 : 1, nginx => $four[$_ % 4]) }
    1 .. 32;
$t->respond(@ids);
$t->once_ok('clocks that disagree', @ids);
is_deeply([grep { $t->field($_, 'attempts') != 1 + $t->{inputs}{$_}{fail} }
    @ids], [], 'leases hold, and retries count');
%pids = map { $t->last_pid($_) => 1 } @ids;
cmp_ok(scalar(grep { $pids{$_} } map { $_->workers } @odd), '>', 0,
    'they had tasks');

for my $nginx (@four) {
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok;
}

is($t->client->xlen('{llama_deploy.stairs}:queue'), 0, 'the queue is empty');
is($t->client->zcard("{llama_deploy.stairs}:$_"), 0, "no $_")
    for qw(leases timers);

done_testing;
