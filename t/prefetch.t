# Tasks that a worker claims ahead of its free slots: what becomes of them when
# those before them take long, when the worker leaves or dies, when they are
# cancelled.

use strict;
use warnings;

use File::Temp ();
use Test::More;
use Time::HiRes qw(time);
use Workflow;
use Workflow::Plugin;
use Workflow::Proxy;
use Workflow::Record;

my $plugin = Workflow::Plugin->new('stairs');
my $redis = Workflow::Redis->new;
my $r = $redis->redis;
my ($n, @nginx) = (0);

# Where a task's step says that it has begun.

my $dir = File::Temp->newdir('workflow-prefetch-XXXXXX', TMPDIR => 1);
my $begun = "$dir/begun";
open my $file, '>', $begun or die "$begun: $!";
close $file;
chmod 0755, "$dir";
chmod 0666, $begun;

sub begun {
    open my $file, '<', $begun or die "$begun: $!";
    return map { /^(\S+) / ? ($1 => 1) : () } <$file>;
}

sub has_begun {
    my ($id) = @_;
    my %begun = begun();
    return $begun{$id};
}

sub nginx {
    my ($service, $url) = @_;
    $url //= $redis->url;
    my $nginx = Workflow::Nginx->new(workers => 1, http => <<"HTTP",
workflow_load @{[ $plugin->path ]};
workflow_queue tasks { url $url; topic_namespace llama_deploy; }
workflow_service stairs { workflow stairs; queue tasks; timeout 60s;
    max_concurrent_tasks 1; $service }
HTTP
        locations => 'location / { workflow_pass stairs; }');
    push @nginx, $nginx;
    $redis->subscribed(scalar @nginx, 'llama_deploy.stairs');
    return $nginx;
}

sub submit {
    my ($ms) = @_;
    my $id = 'task-' . ++$n;
    $r->publish('llama_deploy.stairs', new_task($id, { ms => $ms,
        file => $begun }));
    return $id;
}

sub field {
    my ($id, $field) = @_;
    return task_in($r, 'stairs', $id)->{$field} // '';
}

sub in { my ($state, @ids) = @_; return grep { field($_, 'state') eq $state }
    @ids }

# Fast tasks, a slow one that is in the way, and others behind it: queued by one
# that does not run them, so that they are all there when they are claimed.

my $door = nginx('running off;');

sub queue {
    my ($ms) = @_;
    my @ids = map { submit($_) } (0) x 400, $ms, (0) x 20;
    wait_for { $r->xlen('{llama_deploy.stairs}:queue') == @ids } 10,
        'the queue';
    return @ids[400 .. 420];
}

sub cancel {
    my ($nginx, $id) = @_;
    HTTP::Tiny->new->delete($nginx->url("/tasks/$id"));
    wait_for { in('cancelled', $id) } 15, "$id to end";
}

sub ended {
    my ($nginx, @expected) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok(@expected);
    @nginx = grep { $_ != $nginx } @nginx;
}

# Begun by a worker that then has the slow one and, ahead of it, others.

sub blocked {
    my ($ms, $service) = @_;
    my ($slow, @behind) = queue($ms);
    my $nginx = nginx($service // '');
    wait_for { has_begun($slow) } 20, 'the slow one to have its slot';
    return ($nginx, $slow, @behind);
}


# Given back: another worker runs them meanwhile, and it takes no attempt.

{
    my ($nginx, $slow, @behind) = blocked(30_000);
    my $other = nginx('');
    my $start = time;

    wait_for { 20 == in('completed', @behind) } 20, 'those behind it to end';
    is(field($slow, 'state'), 'running', 'they do not wait for the slow one');
    cmp_ok(time - $start, '<', 5, 'but are given back soon');
    cmp_ok(scalar(grep { field($_, 'claim') > 1 } @behind), '>', 0,
        'some were claimed ahead');
    is_deeply([grep { field($_, 'attempts') != 1 } @behind], [],
        'which takes no attempt');
    is($nginx->log =~ /is not this worker's/, '', 'and is nothing to tell');
    cancel($nginx, $slow);
    ended($_) for $nginx, $other;
}


# A worker that leaves gives them back at once.

{
    my ($nginx, $slow, @behind) = blocked(2000);
    ended($nginx);
    is(field($slow, 'state'), 'completed', 'quit: what runs ends');
    my @left = grep { !in('completed', $_) } @behind;
    cmp_ok(scalar @left, '>', 0, 'quit: what does not is left');
    my $other = nginx('');
    wait_for { 20 == in('completed', @behind) } 10, 'them to end';
    is_deeply([grep { field($_, 'attempts') != 1 } @behind], [],
        'quit: and takes no attempt');
    ended($other);
}


# One that dies: others take them over.

{
    my ($nginx, $slow, @behind) = blocked(30_000, 'lease 30s;');
    my ($pid) = $nginx->workers;
    kill 'KILL', $pid;
    my $other = nginx('');
    wait_for { 20 == in('completed', @behind) } 15, 'them to end';
    pass('killed: they are taken over');
    cancel($nginx, $slow);
    ended($nginx, qr/exited on signal 9/);
    ended($other);
}


# Cancelled while it waits for a slot.

{
    my ($nginx, $slow, @behind) = blocked(2000);
    my $last = $behind[-1];
    is(HTTP::Tiny->new->delete($nginx->url("/tasks/$last"))->{status}, 202,
        'it is cancelled');
    wait_for { in('cancelled', $last) } 10, 'it to end';
    wait_for { in('completed', $slow) } 10, 'the slow one';
    wait_for { 19 == in('completed', @behind) } 10, 'the others';
    is(field($last, 'state'), 'cancelled', 'and is not run');
    ended($nginx);
}


# They begin as slots become free, also while Redis is asked for more.

{
    my $proxy = Workflow::Proxy->new($redis->port);
    my @ids = map { submit(1) } 1 .. 2000;
    my $nginx = nginx('', $proxy->url);

    wait_for { has_begun($ids[200]) } 20, 'some to have begun';
    $proxy->hold;
    my @claimed = $r->zrange('{llama_deploy.stairs}:leases', 0, -1);
    cmp_ok(scalar @claimed, '>', 1, 'some are claimed ahead');
    wait_for { my %begun = begun(); !grep { !$begun{$_} } @claimed } 5,
        'what is claimed to begin';
    $proxy->heal;
    wait_for { !$r->xlen('{llama_deploy.stairs}:queue') } 20, 'all to end';
    is(scalar in('completed', @ids), 2000, 'all end');
    ended($nginx);
}

is($r->xlen('{llama_deploy.stairs}:queue'), 0, 'nothing is left');
is($r->zcard('{llama_deploy.stairs}:leases'), 0, 'no lease either');
ended($door);

done_testing;
