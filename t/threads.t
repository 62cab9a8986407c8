# How steps get to threads: short ones one after the other, those that block
# beside each other, also where that was not to be expected; the pool's queue
# when it is full; what is ready when nginx ends.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Workflow;
use Workflow::ControlPlane;
use Workflow::Fault;
use Workflow::Load;
use Workflow::Plugin;

my $probe = Workflow::Plugin->new('probe');
my $redis = Workflow::Redis->new;
my $n = 0;

sub nginx {
    my ($pool, %options) = @_;
    my $service = delete $options{service} // '';
    my $nginx = Workflow::Nginx->new(workers => 1,
        pool => "thread_pool workflow $pool;\n", http => <<"HTTP", %options);
workflow_load @{[ $probe->path ]};
workflow_queue tasks { url @{[ $redis->url ]}; topic_namespace llama_deploy; }
workflow_service gauge { workflow gauge; queue tasks; timeout 60s;
    max_concurrent_tasks 64; }
workflow_service gauge2 { workflow gauge2; queue tasks; timeout 60s;
    max_concurrent_tasks 64; }
$service
HTTP
    $redis->subscribed(1, 'llama_deploy.gauge', 'llama_deploy.gauge2');
    return $nginx;
}

sub ended {
    my ($nginx, @expected) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok(@expected);
}

# Tasks that take so many microseconds, all at once.

sub submit {
    my ($service, @us) = @_;
    my @ids = map { 'task-' . ++$n } @us;
    my $i = 0;
    Workflow::Load::publish($redis->port, "llama_deploy.$service",
        [map { new_task($_, { us => $us[$i++] }) } @ids], 10);
    return @ids;
}

sub follower {
    return Workflow::Load::Follower->new($redis->port,
        'llama_deploy.control_plane');
}

sub once {
    my ($name, $follower, @ids) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $follower->settle(0.2);
    is_deeply($follower->completed, { map { $_ => 1 } @ids },
        "$name: each task ends, once");
}

# So that the next ones are thought to be fast as well.

sub train {
    my ($service) = @_;
    my $follower = follower();
    my @ids = submit($service, (0) x 2000);
    $follower->follow(2000, 20);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    once("fast ones of $service", $follower, @ids);
}


# Slow ones among fast ones, of one service and of another one.

{
    my $nginx = nginx('threads=8 max_queue=65536');

    for my $round (1 .. 3) {
        train('gauge');
        train('gauge2');

        my $follower = follower();
        my $start = time;
        my @us = (1_000_000, (0) x 9) x 5;
        my @ids = submit('gauge', @us);
        my @slow = @ids[grep { $us[$_] } 0 .. $#us];
        push @ids, submit('gauge2', (0) x 20);
        $follower->follow(65, 10);
        cmp_ok(time - $start, '<', 0.7, "$round: fast ones do not wait");
        is(scalar(grep { $follower->completed->{$_} } @slow), 0,
            "$round: for slow ones");
        $follower->follow(70, 10);
        cmp_ok(time - $start, '<', 1.7, "$round: which overlap");
        once($round, $follower, @ids);
    }

    # as many as there are threads, and no more

    train('gauge');
    my $follower = follower();
    my $start = time;
    my @ids = submit('gauge', (500_000) x 24);
    $follower->follow(24, 10);
    cmp_ok(time - $start, '>', 1.4, 'slow ones share the threads');
    cmp_ok(time - $start, '<', 2.2, 'all of them');
    my ($max) = $follower->results->{$ids[-1]} =~ /\\"max\\":(\d+)/;
    is($max, 8, 'eight');
    once('slow ones', $follower, @ids);

    # steps that are neither

    for my $us (20, 100, 900) {
        $follower = follower();
        @ids = submit('gauge', ($us) x 500);
        $follower->follow(500, 10);
        once("$us us", $follower, @ids);
    }

    ended($nginx);
}


# In the order in which they came, by one thread.

{
    my $nginx = nginx('threads=1 max_queue=65536');
    train('gauge');
    my $follower = follower();
    my @ids = submit('gauge', (0, 2000, 0) x 20);
    my @order;

    while (@order < 60) {
        $follower->follow(@order + 1, 10);
        my %seen = map { $_ => 1 } @order;
        push @order, grep { !$seen{$_} && $follower->completed->{$_} } @ids;
    }

    is_deeply(\@order, \@ids, 'in order');
    once('one thread', $follower, @ids);
    ended($nginx);
}


# The pool's queue is full: of what is ready itself, or of other things, so that
# there is nobody who comes back for more.

{
    my $cp = Workflow::ControlPlane->new;
    my $others = join '', map { "workflow_service other$_ { workflow value;
        queue tasks; control_plane @{[ $cp->url ]};
        control_plane_timeout 20s; }\n" } 1 .. 4;
    my $full = qr/queue overflow/;
    my $nginx = nginx('threads=1 max_queue=1', service => $others);
    my $follower = follower();
    my @ids = map { (submit('gauge', (0, 3000, 100) x 15),
        submit('gauge2', (0, 3000, 100) x 15)) } 1 .. 3;
    $follower->follow(270, 20);
    once('a full queue', $follower, @ids);
    wait_for { 4 == keys %{ $cp->services } } 10, 'the others';
    $nginx->stop;
    like($nginx->log, $full, 'it was full');
    $nginx->log_ok($full);

    $cp->answer(qr{^POST /services/register}, hold => 1);
    $nginx->start;
    wait_for { $nginx->log =~ /overflow.*overflow/s } 10, 'requests that hang';
    $redis->subscribed(1, 'llama_deploy.gauge', 'llama_deploy.gauge2');
    $follower = follower();
    @ids = submit('gauge', (0) x 50);
    $follower->settle(0.5);
    is($follower->{count}, 0, 'no thread is free');
    $cp->heal;
    $cp->release;
    $follower->follow(50, 10);
    once('no runner', $follower, @ids);
    ended($nginx, $full);
}


# What is ready when nginx ends: TERM leaves it to others, QUIT does not.

{
    my $t = Workflow::Fault->new(nginx => 0);
    my $nginx = $t->new_nginx(workers => 1,
        pool => "thread_pool workflow threads=2;\n",
        service => 'max_concurrent_tasks 64;');
    my @ids = map { $t->publish("term-$_", ms => 200) } 1 .. 40;
    $t->is_in('running', @ids);
    my $start = time;
    is($nginx->stop('TERM', 10), 0, 'TERM: nginx ends');
    cmp_ok(time - $start, '<', 3, 'TERM: soon');
    $nginx->log_ok;
    $t->{follower}->settle(0.2);

    # two run, and two may have ended with nobody told

    cmp_ok(scalar(grep { $t->steps($_) } @ids), '<=',
        4 + keys %{ $t->{follower}->completed }, 'TERM: nothing is begun');
    $nginx->start;
    $t->once_ok('TERM: each task ends, once', @ids);
    is($nginx->stop, 0, 'nginx ends');
}

{
    my $nginx = nginx('threads=2 max_queue=65536');
    train('gauge');
    my $follower = follower();
    my @ids = submit('gauge', (50_000) x 40);
    $follower->follow(2, 10);
    is($nginx->stop('QUIT', 10), 0, 'QUIT: nginx ends');
    $follower->settle(0.2);
    is($follower->{count}, 40, 'QUIT: what was ready is run');
    once('QUIT', $follower, @ids);
    $nginx->log_ok;
}

done_testing;
