package Workflow::Redis;

# A redis-server of the test's own, in a temporary directory, on a free port of
# loopback and a unix socket; ended when the object goes away.

use strict;
use warnings;

use File::Temp ();
use Redis ();
use Time::HiRes ();

# %options: port, and lines of redis.conf: conf => "requirepass secret\n"

sub new {
    my ($class, %options) = @_;
    my $self = bless { dir => File::Temp->newdir('workflow-redis-XXXXXX',
        TMPDIR => 1), conf => $options{conf} // '',
        port => $options{port} // Workflow::free_port(),
        auth => $options{auth} }, $class;

    chmod 0755, $self->dir;
    $self->start;
    return $self;
}

sub dir { return "$_[0]{dir}" }
sub port { return $_[0]{port} }
sub pid { return $_[0]{pid} }
sub socket { return $_[0]->dir . '/redis.sock' }
sub url { return 'redis://127.0.0.1:' . $_[0]->port . '/0' }

# wait 0: returns before Redis answers; conf: as for new().

sub start {
    my ($self, %options) = @_;
    my $dir = $self->dir;

    $self->{conf} = $options{conf} if exists $options{conf};

    open my $conf, '>', "$dir/redis.conf" or die "$dir/redis.conf: $!";
    print $conf <<"CONF";
bind 127.0.0.1
port $self->{port}
unixsocket $dir/redis.sock
unixsocketperm 777
dir $dir
logfile $dir/redis.log
save ""
appendonly no
daemonize no
maxmemory-policy noeviction
$self->{conf}
CONF
    close $conf or die "$dir/redis.conf: $!";

    $self->{pid} = fork // die "fork: $!";
    if (!$self->{pid}) {
        exec 'redis-server', "$dir/redis.conf"
            or die "redis-server: $!";
    }

    $self->answers if $options{wait} // 1;
    return $self;
}

sub answers {
    my ($self) = @_;
    Workflow::wait_for(sub { eval { $self->client->ping } }, 10,
        'redis-server to answer');
}

# A new connection.

sub client {
    my ($self) = @_;
    my @auth = $self->{auth} ? @{ $self->{auth} } : ();
    my $client = Redis->new(server => "127.0.0.1:$self->{port}",
        reconnect => 0, @auth == 1 ? (password => $auth[0]) : (),
        @auth == 2 ? (username => $auth[0], password => $auth[1]) : ());
    return $client;
}

# A connection that is kept for the caller's commands.

sub redis {
    my ($self) = @_;
    return $self->{client} //= $self->client;
}

# Wait until each of the channels has so many subscribers, or more.

sub subscribed {
    my ($self, $count, @channels) = @_;

    Workflow::wait_for(sub {
        my %subscribers = $self->redis->pubsub('NUMSUB', @channels);
        !grep { $subscribers{$_} < $count } @channels;
    }, 10, "$count subscribers of @channels");
}

# Collects what is published on channels: $inbox->next($seconds) gives
# [channel, payload] in order, dies when there is none in time.

sub inbox {
    my ($self, @channels) = @_;
    return Workflow::Redis::Inbox->new($self->client, @channels);
}

sub signal {
    my ($self, $signal) = @_;
    kill $signal, $self->{pid} or die "kill $self->{pid}: $!";
}

# TERM, or another signal; waits for its end.

sub stop {
    my ($self, $signal) = @_;
    return if !$self->{pid};
    local ($?, $!);
    kill $signal // 'TERM', $self->{pid};
    kill 'CONT', $self->{pid};
    waitpid $self->{pid}, 0;
    delete $self->{client};
    $self->{pid} = 0;
}

sub DESTROY {
    my ($self) = @_;
    $self->stop('KILL');
}


package Workflow::Redis::Inbox;

use IO::Select ();
use Time::HiRes qw(time);

sub new {
    my ($class, $client, @channels) = @_;
    my @messages;

    $client->subscribe(@channels, sub {
        my ($payload, $channel) = @_;
        push @messages, [$channel, $payload];
    });

    return bless { client => $client, messages => \@messages }, $class;
}

sub next {
    my ($self, $seconds) = @_;
    my $end = time + ($seconds // 10);

    while (!@{ $self->{messages} }) {
        my $left = $end - time;
        die "no message in time\n" if $left <= 0;
        $self->wait($left);
    }

    return shift @{ $self->{messages} };
}

# Until there is something to read; the client's own wait goes on until there
# is nothing more.

sub wait {
    my ($self, $seconds) = @_;
    my $select = IO::Select->new($self->{client}{sock});
    $self->{client}->wait_for_messages(0) if $select->can_read($seconds);
}

# The next message's payload, parsed.

sub json {
    my ($self, $seconds) = @_;
    return Workflow::from_json($self->next($seconds)->[1]);
}

# All messages of a task until its completed_task, parsed; others are dropped.

sub task {
    my ($self, $id, $seconds) = @_;
    my @messages;

    while (1) {
        my $m = $self->json($seconds);
        next if $m->{data}{task_id} ne $id;
        push @messages, $m;
        return @messages if $m->{action} eq 'completed_task';
    }
}

# What has come within so many seconds, without waiting for anything.

sub drain {
    my ($self, $seconds) = @_;
    my $end = time + ($seconds // 0.2);

    while ((my $left = $end - time) > 0) {
        $self->wait($left);
    }

    return splice @{ $self->{messages} };
}

1;
