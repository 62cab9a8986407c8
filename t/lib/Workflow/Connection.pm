package Workflow::Connection;

# One HTTP connection, byte by byte: for pipelining, slow and broken requests,
# and clients that leave.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time);

# new($nginx), or new($port)

sub new {
    my ($class, $to) = @_;
    my $port = ref $to ? $to->port : $to;
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port",
        Timeout => 10) or die "port $port: $!";

    $socket->autoflush(1);
    return bless { socket => $socket, in => '' }, $class;
}

# The text of a request.  A body gets its Content-Length, unless a header says
# otherwise; Host is there.

sub text {
    my ($method, $path, $body, %headers) = @_;
    my $version = delete $headers{version} // '1.1';

    $headers{Host} //= 'localhost';
    $headers{'Content-Length'} = length $body
        if defined $body && !exists $headers{'Content-Length'}
            && !exists $headers{'Transfer-Encoding'};

    return "$method $path HTTP/$version\r\n"
        . join('', map { "$_: $headers{$_}\r\n" } sort keys %headers)
        . "\r\n" . ($body // '');
}

# A body in chunks of so many bytes, with the last one.

sub chunked {
    my ($body, $size) = @_;
    return join '', map({ sprintf "%x\r\n%s\r\n", length, $_ }
        $body =~ /.{1,$size}/gs), "0\r\n\r\n";
}

sub send {
    my ($self, @bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $bytes = join '', @bytes;

    while (length $bytes) {
        my $n = syswrite $self->{socket}, $bytes;
        return 0 if !defined $n;
        substr $bytes, 0, $n, '';
    }

    return 1;
}

# What has been read and is not parsed; '' at the end of the connection.

sub fill {
    my ($self, $end) = @_;
    my $left = $end - time;

    die "no answer in time, only: $self->{in}\n" if $left <= 0
        || !IO::Select->new($self->{socket})->can_read($left);
    return sysread $self->{socket}, $self->{in}, 65536, length $self->{in};
}

# The next answer: status, headers (names in lower case), content.  `head`: it
# is one to HEAD.  undef when the server closes instead.

sub answer {
    my ($self, $seconds, $head) = @_;
    my $end = time + ($seconds // 10);

    while ($self->{in} !~ /\r\n\r\n/) {
        return undef if !$self->fill($end);
    }

    $self->{in} =~ s/^(.*?\r\n)\r\n//s;
    my ($line, @lines) = split /\r\n/, $1;
    my ($status) = $line =~ m{^HTTP/1\.[01] (\d\d\d)\b}
        or die "no answer: $line\n";
    my %headers = map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } @lines;
    my $length = $head || $status < 200 ? 0 : $headers{'content-length'} // 0;

    while (length $self->{in} < $length) {
        die "cut: $self->{in}\n" if !$self->fill($end);
    }

    return { status => $status, headers => \%headers,
        content => substr $self->{in}, 0, $length, '' };
}

# Whether the server closes, with nothing more to say.

sub closed {
    my ($self, $seconds) = @_;
    my $end = time + ($seconds // 10);

    while ($self->fill($end)) { }
    return $self->{in} eq '';
}

# Send no more, but go on reading.

sub finish { shutdown $_[0]{socket}, 1 }

sub close { CORE::close $_[0]{socket} }

# Leave at once, by RST.

sub reset {
    my ($self) = @_;
    setsockopt $self->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0
        or die "SO_LINGER: $!";
    CORE::close $self->{socket};
}

1;
