package Workflow::Fault;

# What the fault tests share: a Redis, a proxy in front of it if it is asked
# for, an nginx with the service "stairs", the file in which the steps say that
# they run, and what is published.

use strict;
use warnings;

use File::Temp ();
use IO::Select ();
use Test::More ();
use Time::HiRes qw(time sleep);
use Workflow::Record;
use Workflow;
use Workflow::Connection;
use Workflow::Load;
use Workflow::Plugin;
use Workflow::Proxy;

my $plugin;

# redis: lines for redis.conf; proxy: 1; queue, service: directives; nginx: 0 is
# not started.

sub new {
    my ($class, %options) = @_;
    $plugin //= Workflow::Plugin->new('stairs');
    my $self = bless { queue => '', service => '', %options,
        dir => File::Temp->newdir('workflow-fault-XXXXXX', TMPDIR => 1),
        redis => Workflow::Redis->new(conf => $options{redis} // '') },
        $class;

    chmod 0755, "$self->{dir}";
    $self->{file} = "$self->{dir}/steps";
    open my $file, '>', $self->{file} or die "$self->{file}: $!";
    close $file;
    chmod 0666, $self->{file};

    $self->{proxy} = Workflow::Proxy->new($self->redis->port)
        if $options{proxy};
    $self->{nginx} = $self->new_nginx if $options{nginx} // 1;
    $self->follow;
    return $self;
}

sub redis { return $_[0]{redis} }
sub proxy { return $_[0]{proxy} }
sub nginx { return $_[0]{nginx} }
sub client { return $_[0]{redis}->redis }

# An nginx; waits until its workers have subscribed.

sub new_nginx {
    my ($self, %options) = @_;
    my $url = ($self->{proxy} // $self->{redis})->url;
    my $service = delete $options{service} // $self->{service};
    my $before = $self->subscribers;

    my $nginx = Workflow::Nginx->new(
        http => <<"HTTP", locations => <<'LOCATIONS', %options);
workflow_load @{[ $plugin->path ]};
workflow_queue tasks { url $url; $self->{queue} }
workflow_service stairs { workflow stairs; queue tasks; timeout 60s; $service }
HTTP
location / { workflow_pass stairs; }
LOCATIONS

    wait_for { $self->subscribers >= $before + $nginx->{workers} } 10,
        'subscribers';
    return $nginx;
}

sub subscribers {
    my ($self) = @_;
    my %count = $self->client->pubsub('NUMSUB', 'llama_deploy.stairs');
    return $count{'llama_deploy.stairs'};
}

# Look at what is published from now on, by a new connection; what was seen
# before counts on.

sub follow {
    my ($self) = @_;
    my $new = Workflow::Load::Follower->new($self->redis->port,
        'llama_deploy.control_plane');

    if (my $old = $self->{follower}) {

        # what has come before that one's connection was lost
        my $select = IO::Select->new($old->{socket});
        eval { $old->read while $select->can_read(0) };

        $new->{$_} = $old->{$_} for qw(completed streamed results count);
    }

    $self->{follower} = $new;
}

# Redis is killed, but not between a command and what it has published, which
# it does not repeat.

sub kill_redis {
    my ($self) = @_;
    my @workers = $self->nginx->workers;
    kill STOP => @workers;
    $self->client->ping for 1 .. 3;
    $self->redis->stop('KILL');
    kill CONT => @workers;
}

# Redis is started again and nobody but us has seen it before we look.

sub restart_redis {
    my ($self, @nginx) = @_;
    my @workers = map { $_->workers } @nginx ? @nginx : $self->nginx;
    kill STOP => @workers;
    $self->redis->start;
    $self->follow;
    kill CONT => @workers;
}

sub input {
    my ($self, %input) = @_;
    return { steps => 1, events => 1, file => $self->{file}, %input };
}

# POST a message, by one write on a connection of its own: HTTP::Tiny makes two,
# of which the second waits for 40 ms.  Returns the status, 0: none came.

sub post {
    my ($self, $message, $nginx) = @_;
    my $answer = eval {
        my $c = Workflow::Connection->new($nginx // $self->nginx);
        $c->send(Workflow::Connection::text('POST', '/process_message',
            $message, 'Content-Type' => 'application/json'));
        $c->answer(30);
    };
    return $answer ? $answer->{status} : 0;
}

# The same with a task; {nginx}: another one than the first.

sub submit {
    my ($self, $id, %input) = @_;
    my $nginx = delete $input{nginx};
    $self->{inputs}{$id} = $self->input(%input);
    return $self->post(new_task($id, $self->{inputs}{$id}), $nginx);
}

# Answer those of the tasks that ask, once they have: an answer is taken before,
# too.

sub respond {
    my ($self, @ids) = @_;
    for my $id (grep { $self->{inputs}{$_}{ask} } @ids) {
        $self->is_in('waiting', $id);
        wait_for { $self->post(human_response($id, 'y')) == 200 } 15,
            "an answer to $id";
    }
}

sub accept {
    my ($self, $id, %input) = @_;
    my $status = $self->submit($id, %input);
    die "$id: $status\n" if $status != 200;
    return $id;
}

sub publish {
    my ($self, $id, %input) = @_;
    $self->{inputs}{$id} = $self->input(%input);
    $self->client->publish('llama_deploy.stairs',
        new_task($id, $self->{inputs}{$id}));
    return $id;
}

# A field of the task in Redis.

sub field {
    my ($self, $id, $field) = @_;
    return task_in($self->client, 'stairs', $id)->{$field} // '';
}

sub is_in {
    my ($self, $state, @ids) = @_;
    for my $id (@ids) {
        wait_for { $self->field($id, 'state') eq $state } 15,
            "$id: $state, not " . $self->field($id, 'state');
    }
}

# The process that runs a task; the one that has run it last.

sub pid_of {
    my ($self, $id) = @_;
    $self->is_in('running', $id);
    return $self->last_pid($id);
}

sub last_pid {
    my ($self, $id) = @_;
    return $self->field($id, 'worker') =~ /-(\d+)-\w+$/ ? $1 : 0;
}

# What steps of a task have been run: "step/attempt".

sub steps {
    my ($self, $id) = @_;
    open my $file, '<', $self->{file} or die "$self->{file}: $!";
    return map { /^\Q$id\E (\d+) (\d+)$/ ? "$1/$2" : () } <$file>;
}

# Wait until a step is run.

sub reaches {
    my ($self, $id, $step) = @_;
    wait_for { grep { $_ eq $step } $self->steps($id) } 15,
        "$id to reach $step";
}

# A test of its own: the tasks end, each once, and what they streamed has come
# once, in order.

sub once_ok {
    my ($self, $name, @ids) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $f = $self->{follower};
    my $end = time + 25;
    my $select = IO::Select->new($f->{socket});

    while (my @missing = grep { !$f->completed->{$_} } @ids) {
        my $left = $end - time;

        if ($left <= 0) {
            Test::More::ok(0, $name);
            Test::More::diag('not ended: ', join ', ', map { "$_ ("
                . $self->field($_, 'state') . ')' } @missing);
            return;
        }

        $f->read if $select->can_read($left);
    }

    $f->settle(0.25);

    my @bad;

    for my $id (@ids) {
        my $input = $self->{inputs}{$id};
        my $last = $input->{steps} * $input->{events} + ($input->{ask} ? 1 : 0);
        my $streamed = join ' ', @{ $f->streamed->{$id} // [] };

        push @bad, "$id completed $f->{completed}{$id} times"
            if $f->completed->{$id} != 1;
        push @bad, "$id streamed $streamed, not 0 .. $last"
            if $streamed ne join ' ', 0 .. $last;
    }

    return Test::More::ok(!@bad, $name) || Test::More::diag(map { "$_\n" }
        @bad > 10 ? (@bad[0 .. 9], '...') : @bad);
}

sub _slurp {
    open my $file, '<', $_[0] or die "$_[0]: $!";
    local $/;
    return <$file>;
}

# A script as the module has it, and its sum, by which it is called.

sub script {
    my ($class, $script) = @_;
    my $text = _slurp("src/queue/scripts/$script.lua");
    $text =~ s{^-- include (\w+)\n}
        {_slurp("src/queue/scripts/include/$1.lua")}gem;
    return $text =~ s/^ *(?:--.*)?\n//gmr;
}

sub sum {
    my ($class, $script) = @_;
    require Digest::SHA;
    return Digest::SHA::sha1_hex($class->script($script));
}

# Tests of their own: nginx ends, without alarms but these.

sub end_ok {
    my ($self, @expected) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::is($self->nginx->stop, 0, 'nginx ends');
    $self->nginx->log_ok(@expected);
}

1;
