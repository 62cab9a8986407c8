# The lock under which a session is saved in the control plane: who waits for
# it, how long it holds, and that nothing is saved without it.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);
use Workflow::Record;
use Workflow;
use Workflow::ControlPlane;
use Workflow::Plugin;

my $plugin = Workflow::Plugin->new('session');
my $redis = Workflow::Redis->new;
my $r = $redis->redis;
my $cp = Workflow::ControlPlane->new(namespace => 'llama_deploy');
my $inbox = $redis->inbox('llama_deploy.control_plane');
my (%completed, $n);

sub nginx {
    my ($service, %options) = @_;
    my $nginx = Workflow::Nginx->new(http => <<"HTTP",
workflow_load @{[ $plugin->path ]};
workflow_load \@PLUGINS\@/sleeper.so;
workflow_queue tasks {
    url @{[ $redis->url ]}; topic_namespace llama_deploy; }
workflow_service session { workflow session; queue tasks; timeout 20s;
    control_plane @{[ $cp->url ]}; $service }
workflow_service sleeper { workflow sleeper; queue tasks; }
HTTP
        locations => join('', map { "location /$_/ { workflow_pass $_; }\n" }
            qw(session sleeper)), %options);
    $redis->subscribed($nginx->{workers}, 'llama_deploy.session');
    return $nginx;
}

sub submit {
    my ($nginx, $service, $session, $input) = @_;
    my $id = 'task-' . ++$n;
    my $answer = http_post($nginx->url("/$service/process_message"),
        new_task($id, $input, session_id => $session));
    $answer->{status} == 200 or die $answer->{content};
    return $id;
}

sub take {
    for my $payload (map { $_->[1] } $inbox->drain(0.005)) {
        my $m = from_json($payload);
        $completed{ $m->{data}{task_id} } = $m->{data}
            if $m->{action} eq 'completed_task';
    }
}

sub outcome {
    my ($id) = @_;
    return wait_for { take(); $completed{$id} } 20, "the end of $id";
}

sub lock_of { return "{llama_deploy.control_plane}:lock:$_[0]" }
sub get_of { return qr{^GET .*/sessions/\Q$_[0]\E/state$} }
sub post_of { return qr{^POST .*/sessions/\Q$_[0]\E/state$} }

sub calls {
    my ($calls) = $r->info('commandstats')->{cmdstat_evalsha}
        =~ /calls=(\d+)/;
    return $calls;
}

sub ended {
    my ($nginx) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok;
}


# Somebody else has it: it is asked for now and then, and gets it in the end.

sub state_of { return task_in($r, 'session', $_[0])->{state} // '' }


{
    my $nginx = nginx('');
    $cp->session('taken', {});
    $r->set(lock_of('taken'), 'somebody', 'PX', 60_000);

    my $id = submit($nginx, 'session', 'taken', { set => { a => 1 } });
    wait_for { state_of($id) eq 'running' } 10, 'it to run';

    my ($calls, $start) = (calls(), time);
    wait_for { time - $start > 0.5 } 10, 'half a second';
    cmp_ok(calls() - $calls, '<', 250, 'it is asked for now and then');
    is(state_of($id), 'running', 'and the result waits');

    $r->del(lock_of('taken'));
    is(outcome($id)->{data}{status}, 'completed', 'until it is free');
    ok(!exists $completed{$id}{data}{session}, 'and what was set is saved');
    wait_for { !$r->exists(lock_of('taken')) } 10, 'it to be given back';
    ended($nginx);
}


# A Redis that is full does not keep tasks from ending.

{
    my $nginx = nginx('');
    $cp->session('full', {});
    my $id = submit($nginx, 'session', 'full', { ms => 300,
        set => { a => 1 } });
    wait_for { state_of($id) eq 'running' } 10, 'it to run';
    $r->config_set('maxmemory', 1);
    is(outcome($id)->{data}{status}, 'completed', 'out of memory: it ends');
    ok(!exists $completed{$id}{data}{session}, 'out of memory: it is saved');
    $r->config_set('maxmemory', 0);
    ended($nginx);
}


# A save that waits for a thread keeps the lock for longer than it was given.

{
    my $nginx = nginx('control_plane_timeout 100ms;', workers => 1,
        pool => "thread_pool workflow threads=1 max_queue=65536;\n");
    $cp->session('slow', {});
    my $id = submit($nginx, 'session', 'slow', { ms => 400,
        set => { a => 1 } });
    wait_for { state_of($id) eq 'running' } 10, 'it to run';
    submit($nginx, 'sleeper', undef, { ms => 1100 }) for 1 .. 3;

    wait_for { $r->exists(lock_of('slow')) } 10, 'the lock';
    my ($start, $gone) = (time, 0);
    wait_for {
        take();
        my $free = !$r->exists(lock_of('slow'));
        $gone = 1 if $free && !grep { $_ } $cp->requests(post_of('slow'));
        $free;
    } 20, 'the save';

    cmp_ok(time - $start, '>', 1.3, 'it had to wait for longer');
    is($gone, 0, 'and was locked all the time');
    ok(!exists outcome($id)->{data}{session}, 'and is saved');
    ended($nginx);
}


# A run that has lost its task saves nothing.

{
    my $nginx = nginx('lease 300ms;');
    $cp->session('lost', {});
    my $id = submit($nginx, 'session', 'lost', { ms => 100,
        set => { a => 1 } });
    $cp->asked(get_of('lost'));
    $cp->answer(get_of('lost'), hold => 1);
    $cp->forget;
    $cp->asked(get_of('lost'));

    my $task = task_in($r, 'session', $id);
    put_task($r, 'session', $id, { %$task, worker => 'somebody' });
    wait_for { $nginx->log =~ /task "$id" is not this worker's/ } 10,
        'it to be told';
    $cp->heal;
    $cp->release;
    wait_for { !$r->exists(lock_of('lost')) } 10, 'the lock to be given back';
    is(scalar($cp->requests(post_of('lost'))), 0, 'nothing is posted');
    is_deeply($cp->session('lost'), {}, 'the session is as it was');
    $r->del("{llama_deploy.session}:task:$id");
    ended($nginx);
}

done_testing;
