package Soak::Loop;

# One loop for all that the driver does: timers, and sockets that never block.

use strict;
use warnings;

use IO::Socket::INET;
use Time::HiRes qw(time);

sub new {
    my ($class) = @_;
    return bless { timers => [], streams => {} }, $class;
}

# Call $what->() after so many seconds.

sub after {
    my ($self, $seconds, $what) = @_;
    my $at = time + $seconds;
    my $timers = $self->{timers};
    my $i = @$timers;

    $i-- while $i && $timers->[$i - 1][0] > $at;
    splice @$timers, $i, 0, [$at, $what];
}

# Ask every few milliseconds until the answer is true, then do something.

sub when {
    my ($self, $ask, $then) = @_;
    return $then->() if $ask->();
    $self->after(0.02, sub { $self->when($ask, $then) });
}

# A connection to a port of loopback, or undef.  $read->($stream) is called when
# something was added to $stream->{in}, $lost->($stream) at its end.

sub connect {
    my ($self, $port, $read, $lost) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port")
        or return undef;

    $socket->blocking(0);
    my $stream = { socket => $socket, in => '', out => '', read => $read,
        lost => $lost };
    $self->{streams}{fileno $socket} = $stream;
    return $stream;
}

sub send {
    my ($self, $stream, $text) = @_;
    $stream->{out} .= $text;
    $self->write($stream);
}

sub write {
    my ($self, $stream) = @_;
    return if !$stream->{socket} || $stream->{out} eq '';

    local $SIG{PIPE} = 'IGNORE';
    my $n = syswrite $stream->{socket}, $stream->{out};

    if (defined $n) {
        substr $stream->{out}, 0, $n, '';

    } elsif (!$!{EAGAIN} && !$!{EINTR}) {
        $self->lose($stream);
    }
}

# Nothing is called any more.

sub close {
    my ($self, $stream) = @_;
    return if !$stream->{socket};
    delete $self->{streams}{fileno $stream->{socket}};
    close delete $stream->{socket};
}

sub lose {
    my ($self, $stream) = @_;
    return if !$stream->{socket};
    $self->close($stream);
    $stream->{lost}->($stream);
}

sub run_until {
    my ($self, $done) = @_;
    $self->turn until $done->();
}

sub turn {
    my ($self) = @_;
    my ($reading, $writing) = ('', '');
    my $streams = $self->{streams};
    my $timers = $self->{timers};

    for my $fd (keys %$streams) {
        vec($reading, $fd, 1) = 1;
        vec($writing, $fd, 1) = 1 if $streams->{$fd}{out} ne '';
    }

    my $left = @$timers ? $timers->[0][0] - time : 0.05;
    $left = 0 if $left < 0;
    $left = 0.05 if $left > 0.05;

    if (select($reading, $writing, undef, $left) > 0) {
        for my $fd (keys %$streams) {
            my $stream = $streams->{$fd} or next;
            $self->write($stream) if vec $writing, $fd, 1;
            $self->read($stream) if $stream->{socket} && vec $reading, $fd, 1;
        }
    }

    my $now = time;
    (shift @$timers)->[1]->() while @$timers && $timers->[0][0] <= $now;
}

sub read {
    my ($self, $stream) = @_;
    my $n = sysread $stream->{socket}, $stream->{in}, 262144,
        length $stream->{in};

    return if !defined $n && ($!{EAGAIN} || $!{EINTR});

    if ($n) {
        $stream->{read}->($stream);
    } else {
        $self->lose($stream);
    }
}

1;
