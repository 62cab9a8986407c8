package Soak::Faults;

# What is done to NGINX and Redis while they work.  Each fault leaves the loop
# at once; what follows later is a timer's.

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(time);

use constant {
    KILL_MIN => 2, KILL_MAX => 5, RELOAD => 10, UPGRADE => 60,
    FREEZE => 12, FROZEN => 3, REDIS => 20, REDIS_FIRST => 8,
    AWAY => 3,
};

# new(loop => , redis => , nginx => [...], seconds => , cut => a function that
# is called when all connections of the services were cut)

sub new {
    my ($class, %options) = @_;
    return bless { killed => {}, frozen => {}, count => {}, stopped => 0,
        redis_faults => [], masters => [map { [$_->pid] }
            @{ $options{nginx} }], %options }, $class;
}

sub start {
    my ($self) = @_;
    my $upgrade = $self->{seconds} < 2 * UPGRADE ? $self->{seconds} / 2
        : UPGRADE;

    $self->every(KILL_MIN, sub { KILL_MIN + rand(KILL_MAX - KILL_MIN) },
        sub { $self->kill_worker });

    $self->every(FREEZE / 2, sub { FREEZE }, sub { $self->freeze_worker });

    # now this nginx, now that one

    my $n = 0;
    $self->every(RELOAD / 2, sub { RELOAD }, sub { $self->reload($n++) });

    $self->every($upgrade, sub { UPGRADE }, sub {
        $self->upgrade($_) for 0 .. $#{ $self->{nginx} };
    });

    # these in turn; the first ones are what a short run has time for

    my @faults = qw(restart kill_clients stand_still pause flush_scripts);

    $self->every(REDIS_FIRST, sub { REDIS }, sub {
        my $fault = shift @faults;
        push @faults, $fault;
        push @{ $self->{redis_faults} }, time;
        $self->{count}{$fault}++;
        $self->$fault;
    });
}

# After so many seconds, and then again and again.

sub every {
    my ($self, $first, $seconds, $what) = @_;
    $self->{loop}->after($first, sub {
        return if $self->{stopped};
        $what->();
        $self->every($seconds->(), $seconds, $what);
    });
}

# No more of them; true when the last one is over.

sub stop { $_[0]{stopped} = 1 }

sub over {
    my ($self) = @_;
    return !$self->{busy} && !grep { @$_ > 1 } @{ $self->{masters} };
}

# Masters and workers of all nginx, as they are just now.

sub masters { return map { @$_ } @{ $_[0]{masters} } }

sub workers {
    my ($self) = @_;
    my %masters = map { $_ => 1 } $self->masters;
    my @pids;

    for my $path (glob '/proc/[0-9]*/stat') {
        open my $file, '<', $path or next;
        my ($pid, $state, $parent) = (<$file> // '')
            =~ /^(\d+) \(.*\) (\S) (\d+)/ or next;
        push @pids, $pid
            if $masters{$parent} && !$masters{$pid} && $state ne 'Z';
    }

    return @pids;
}

# A child of a master may be the next master, which has no children yet.

sub a_worker {
    my ($self) = @_;
    my @pids = $self->{upgrading} ? () : $self->workers;
    return @pids ? $pids[rand @pids] : ();
}

sub kill_worker {
    my ($self) = @_;
    my $pid = $self->a_worker or return;
    kill 'KILL', $pid or return;
    $self->{killed}{$pid} = time;
    $self->{count}{kill}++;
}

# A worker stands still for longer than its lease, and goes on.

sub freeze_worker {
    my ($self) = @_;
    my $pid = $self->a_worker or return;
    kill 'STOP', $pid or return;
    $self->{frozen}{$pid} = time;
    $self->{count}{freeze}++;
    $self->{busy}++;
    $self->{loop}->after(FROZEN, sub {
        kill 'CONT', $pid;
        $self->{busy}--;
    });
}

sub reload {
    my ($self, $n) = @_;
    my $masters = $self->{masters}[$n % @{ $self->{masters} }];
    return if @$masters > 1 || $self->{upgrading};
    kill 'HUP', $masters->[0];
    $self->{count}{reload}++;
}

sub upgrade {
    my ($self, $i) = @_;
    my ($loop, $masters) = ($self->{loop}, $self->{masters}[$i]);
    my ($nginx, $old) = ($self->{nginx}[$i], $masters->[0]);
    my $dir = $nginx->dir;

    $self->{upgrading}++;
    $self->{busy}++;
    kill 'USR2', $old;

    $loop->when(sub {
        my $pid = $nginx->pid_file;
        return if !$pid || $pid == $old || !-e "$dir/nginx.pid.oldbin";
        $nginx->{pid} = $pid;
        return $nginx->workers >= $nginx->{workers};
    }, sub {
        push @$masters, $nginx->pid;
        $self->{upgrading}--;
        kill 'QUIT', $old;

        $loop->when(sub { waitpid($old, POSIX::WNOHANG()) == $old }, sub {
            shift @$masters;
            $self->{busy}--;
            $self->{count}{upgrade}++;
        });
    });
}

# Redis.  Its user "driver" is who is not cut off.

sub command {
    my ($self, @words) = @_;
    my $stream;

    $stream = $self->{loop}->connect($self->{redis}->port, sub {
        $self->{loop}->close($stream) if $_[0]{in} =~ /\n.*\n/;
        die "@words: $1\n" if $_[0]{in} =~ /^(-.*)\r/m;
    }, sub { }) or return;

    $self->{loop}->send($stream, join '', "AUTH driver any\r\n",
        '*' . @words . "\r\n", map { '$' . length . "\r\n$_\r\n" } @words);
}

sub kill_clients {
    my ($self) = @_;
    $self->command(qw(CLIENT KILL USER default));
    $self->{loop}->after(0.05, $self->{cut});
}

sub flush_scripts { $_[0]->command(qw(SCRIPT FLUSH)) }
sub pause { $_[0]->command(qw(CLIENT PAUSE 1500)) }

sub stand_still {
    my ($self) = @_;
    $self->{redis}->signal('STOP');
    $self->{busy}++;
    $self->{loop}->after(1, sub {
        $self->{redis}->signal('CONT');
        $self->{busy}--;
    });
}

# Killed outright, away for longer than a lease, back with what it has written.

sub restart {
    my ($self) = @_;
    $self->{redis}->stop('KILL');
    $self->{busy}++;

    $self->{loop}->after(AWAY, sub {
        $self->{redis}->start(wait => 0);
        $self->{busy}--;
        $self->{cut}->();
    });
}

1;
