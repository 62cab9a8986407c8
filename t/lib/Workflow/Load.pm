package Workflow::Load;

# Many messages at once: by HTTP, pipelined over a few connections, by Pub/Sub,
# pipelined too, and a follower that can keep up with what comes of them.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

sub connect_to {
    my ($port) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port")
        or die "connect to $port: $!";
    $s->blocking(0);
    return $s;
}

# Write all of @$texts, one for each socket, and hand what comes back to
# $read->($i, \$buffer), until $done->() is true.

sub exchange {
    my ($sockets, $texts, $seconds, $read, $done) = @_;
    my $end = time + $seconds;
    my %index = map { fileno $sockets->[$_] => $_ } 0 .. $#$sockets;
    my @offset = (0) x @$sockets;
    my @buffer = ('') x @$sockets;
    my $reading = IO::Select->new(@$sockets);
    my $writing = IO::Select->new(@$sockets);

    while (!$done->()) {
        my $left = $end - time;
        die "not all was answered in time\n" if $left <= 0;

        my ($r, $w) = IO::Select->select($reading,
            $writing->count ? $writing : undef, undef, $left);

        for my $s (@{ $w // [] }) {
            my $i = $index{fileno $s};
            my $n = syswrite $s, $texts->[$i], 65536, $offset[$i];
            next if !defined $n && $!{EAGAIN};
            die "write: $!\n" if !defined $n;
            $offset[$i] += $n;
            $writing->remove($s) if $offset[$i] == length $texts->[$i];
        }

        for my $s (@{ $r // [] }) {
            my $i = $index{fileno $s};
            my $n = sysread $s, $buffer[$i], 262144, length $buffer[$i];
            next if !defined $n && $!{EAGAIN};
            die 'connection lost: ' . ($n // $!) . "\n" if !$n;
            $read->($i, \$buffer[$i]);
        }
    }
}

# POST all of @$bodies; returns how often each status was answered.  The server
# must not end a connection after keepalive_requests.

sub post {
    my ($port, $path, $bodies, $seconds) = @_;
    my @texts = ('') x 16;
    my ($i, $answered, %status) = (0, 0);

    for my $body (@$bodies) {
        $texts[$i++ % @texts] .= "POST $path HTTP/1.1\r\nHost: test\r\n"
            . "Content-Type: application/json\r\nContent-Length: "
            . length($body) . "\r\n\r\n$body";
    }

    @texts = grep { $_ ne '' } @texts;

    exchange([map { connect_to($port) } @texts], \@texts, $seconds, sub {
        my ($i, $buffer) = @_;

        while ($$buffer =~ m{\GHTTP/1\.1\ (\d+)\ .*?\r\n
            Content-Length:\ (\d+)\r\n.*?\r\n\r\n}gcsx)
        {
            if (length($$buffer) < pos($$buffer) + $2) {
                pos($$buffer) = $-[0];
                last;
            }

            $status{$1}++;
            $answered++;
            pos($$buffer) += $2;
        }

        substr $$buffer, 0, pos($$buffer) // 0, '';
    }, sub { $answered == @$bodies });

    return \%status;
}

# PUBLISH all of @$payloads on a channel.

sub publish {
    my ($port, $channel, $payloads, $seconds) = @_;
    my $answered = 0;

    my $text = join '', map {
        "*3\r\n\$7\r\nPUBLISH\r\n\$" . length($channel) . "\r\n$channel\r\n\$"
            . length($_) . "\r\n$_\r\n"
    } @$payloads;

    exchange([connect_to($port)], [$text], $seconds, sub {
        my ($i, $buffer) = @_;
        $answered += $$buffer =~ s/:\d+\r\n//g;
        die "PUBLISH: $$buffer\n" if $$buffer =~ /^-.*\r\n/;
    }, sub { $answered == @$payloads });
}


package Workflow::Load::Follower;

# What is published on a channel, counted: by task id the number of its
# completed_task and the indexes that were streamed, in order.

use Time::HiRes qw(time);

sub new {
    my ($class, $port, $channel) = @_;
    my $self = bless { socket => Workflow::Load::connect_to($port),
        buffer => '', completed => {}, streamed => {}, results => {},
        count => 0 }, $class;

    $self->{socket}->blocking(1);
    syswrite $self->{socket}, "SUBSCRIBE $channel\r\n";
    my $answer = '';
    sysread $self->{socket}, $answer, 4096, length $answer
        or die "SUBSCRIBE: $!" while $answer !~ /:1\r\n$/;
    $self->{socket}->blocking(0);
    return $self;
}

# Until so many tasks have completed, at least; die when it is not in time.

sub follow {
    my ($self, $count, $seconds) = @_;
    my $end = time + $seconds;
    my $select = IO::Select->new($self->{socket});

    while ($self->{count} < $count) {
        my $left = $end - time;
        die "only $self->{count} of $count in time\n" if $left <= 0;
        $self->read if $select->can_read($left);
    }
}

# Until nothing has come for so many seconds.

sub settle {
    my ($self, $seconds) = @_;
    my $select = IO::Select->new($self->{socket});
    $self->read while $select->can_read($seconds);
}

sub read {
    my ($self) = @_;

    sysread $self->{socket}, $self->{buffer}, 262144, length $self->{buffer}
        or die "Redis has closed the connection\n";

    my $at = 0;
    pos($self->{buffer}) = 0;

    while ($self->{buffer}
        =~ /\G\*3\r\n\$7\r\nmessage\r\n\$\d+\r\n[^\r]*\r\n\$(\d+)\r\n/gc)
    {
        my $start = pos $self->{buffer};
        last if length($self->{buffer}) < $start + $1 + 2;
        $self->count(substr $self->{buffer}, $start, $1);
        $at = pos($self->{buffer}) = $start + $1 + 2;
    }

    substr $self->{buffer}, 0, $at, '';
}

sub count {
    my ($self, $payload) = @_;
    my ($id) = $payload =~ /"task_id": "([^"]*)"/;

    if ($payload =~ /"action": "completed_task"/) {
        $self->{count}++;
        $self->{completed}{$id}++;
        ($self->{results}{$id}) =
            $payload =~ /"result": "((?:[^"\\]|\\.)*)", "data": \{/;

    } elsif ($payload =~ /"index": (\d+)\}, "action": "task_stream"/) {
        push @{ $self->{streamed}{$id} }, $1;
    }
}

sub completed { return $_[0]{completed} }
sub streamed { return $_[0]{streamed} }
sub results { return $_[0]{results} }

1;
