package Workflow::Proxy;

# A TCP proxy in a process of its own, between nginx and Redis, that does harm
# as it is told; ended when the object goes away.

use strict;
use warnings;

use IO::Handle ();
use IO::Select ();
use IO::Socket::INET;
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

# new($port): to this port of loopback

sub new {
    my ($class, $to) = @_;
    my $listen = IO::Socket::INET->new(Listen => 128,
        LocalAddr => '127.0.0.1') or die "listen: $!";

    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC
        or die "socketpair: $!";

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        close $ours;
        $SIG{PIPE} = 'IGNORE';
        $SIG{$_} = 'DEFAULT' for qw(INT TERM);
        eval { serve($listen, $to, $theirs); 1 } or print STDERR "proxy: $@";
        POSIX::_exit(0);
    }

    $ours->autoflush(1);
    return bless { pid => $pid, port => $listen->sockport,
        control => $ours, owner => $$ }, $class;
}

sub port { return $_[0]{port} }
sub url { return "redis://127.0.0.1:$_[0]{port}/0" }

# Each returns when it is in force.

# Milliseconds for every chunk, in both directions; for new connections, until
# which Redis does not see them.

sub delay { return $_[0]->tell("delay $_[1]") }
sub delay_new { return $_[0]->tell("delay_new $_[1]") }

# Cut every connection behind so many bytes more of replies.

sub cut { return $_[0]->tell("cut $_[1]") }

# The next connection on which a request with this text (no blanks) comes is
# cut behind so many bytes of what is answered from then on.

sub cut_at { return $_[0]->tell("cut_at $_[1] $_[2]") }

# Whether that has happened.

sub has_cut { return $_[0]->tell('has_cut') }

# What Redis answers next in this way, in one piece, becomes something else;
# whether that has happened.

sub change { return $_[0]->tell(join ' ', 'change', map { unpack 'H*', $_ }
    @_[1, 2]) }
sub has_changed { return $_[0]->tell('has_changed') }

# Keep back what is sent to Redis until drop().

sub hold { return $_[0]->tell('hold') }

# Close all connections; what was kept back is lost.

sub drop { return $_[0]->tell('drop') }

# As new, with the connections that there are.

sub heal { return $_[0]->tell('heal') }

sub tell {
    my ($self, $command) = @_;
    print { $self->{control} } "$command\n";
    my $answer = readline $self->{control};
    die "the proxy has gone\n" if !defined $answer;
    return $answer + 0;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $@, $!);
    return if $self->{owner} != $$;
    kill 'KILL', $self->{pid};
    waitpid $self->{pid}, 0;
}


# In the process: a link is a client's connection and the one to Redis.  What
# has been read waits in a list of [time, bytes] for its time.

sub serve {
    my ($listen, $to, $control) = @_;
    my %s = (delay => 0, delay_new => 0, cuts => 0);
    my %links;
    my $orders = '';

    my $drop = sub {
        my ($link) = @_;
        close $link->{client};
        close $link->{server} if $link->{server};
        delete $links{$link};
    };

    while (1) {
        my $now = time;
        my ($next, @read, @write, %of) = (3600, $listen, $control);

        for my $link (values %links) {
            if (!$link->{server}) {
                my $left = $link->{open} - $now;

                if ($left > 0) {
                    $next = $left if $left < $next;
                    next;
                }

                $link->{server} = IO::Socket::INET->new(
                    PeerAddr => "127.0.0.1:$to");

                if (!$link->{server}) {
                    $drop->($link);
                    next;
                }

                setsockopt $link->{server}, IPPROTO_TCP, TCP_NODELAY, 1;
                $link->{server}->blocking(0);
            }

            for my $end (['client', 'server'], ['server', 'client']) {
                my ($from, $into) = @$end;
                my $list = $link->{"from_$from"};

                $of{fileno $link->{$from}} = [$link, $from];
                push @read, $link->{$from};
                next if !@$list || ($s{hold} && $from eq 'client');

                my $left = $list->[0][0] - $now;

                if ($left > 0) {
                    $next = $left if $left < $next;

                } else {
                    push @write, $link->{$into};
                }
            }
        }

        my ($r, $w) = IO::Select->select(IO::Select->new(@read),
            @write ? IO::Select->new(@write) : undef, undef, $next);

        for my $socket (@{ $w // [] }) {
            my ($link, $into) = @{ $of{fileno $socket // -1} // next };
            next if !$links{$link};
            my $list = $link->{$into eq 'server' ? 'from_client'
                : 'from_server'};
            my $bytes = $list->[0][1];

            if ($into eq 'client' && defined $link->{left}) {
                $bytes = substr $bytes, 0, $link->{left};
            }

            my $n = length $bytes ? syswrite $socket, $bytes : 0;
            next if !defined $n && $!{EAGAIN};

            if (!defined $n) {
                $drop->($link);
                next;
            }

            if ($into eq 'client' && defined $link->{left}
                && ($link->{left} -= $n) <= 0)
            {
                $s{cuts}++;
                $drop->($link);
                next;
            }

            substr $list->[0][1], 0, $n, '';
            shift @$list if $list->[0][1] eq '';
        }

        for my $socket (@$r) {
            if ($socket == $listen) {
                my $client = $listen->accept or next;
                setsockopt $client, IPPROTO_TCP, TCP_NODELAY, 1;
                $client->blocking(0);
                my $link = { client => $client, from_client => [],
                    from_server => [], open => time + $s{delay_new} / 1000 };
                $link->{left} = $s{cut} if defined $s{cut};
                $links{$link} = $link;
                next;
            }

            if ($socket == $control) {
                sysread $control, $orders, 4096, length $orders or return;

                while ($orders =~ s/^(\S+) ?(.*)\n//) {
                    syswrite $control, order(\%s, \%links, $drop, $1, $2)
                        . "\n";
                }

                next;
            }

            my ($link, $from) = @{ $of{fileno $socket // -1} // next };
            next if !$links{$link};
            my $n = sysread $socket, my $bytes, 65536;
            next if !defined $n && $!{EAGAIN};

            if (!$n) {

                # what Redis has said before still arrives

                if ($from eq 'client' || !@{ $link->{from_server} }) {
                    $drop->($link);
                }

                next;
            }

            if ($from eq 'client' && $s{at} && index($bytes, $s{at}) >= 0) {
                $link->{left} = $s{at_bytes};
                delete $s{at};
            }

            if ($from eq 'server' && defined $s{from}
                && $bytes =~ s/\Q$s{from}\E/$s{to}/)
            {
                delete $s{from};
            }

            push @{ $link->{"from_$from"} }, [time + $s{delay} / 1000, $bytes];
        }
    }
}

sub order {
    my ($s, $links, $drop, $order, $value) = @_;

    if ($order eq 'cut') {
        $_->{left} = $value for values %$links;

    } elsif ($order eq 'cut_at') {
        @$s{qw(at at_bytes)} = split / /, $value;
        $s->{cuts} = 0;

    } elsif ($order eq 'has_cut') {
        return $s->{cuts};

    } elsif ($order eq 'change') {
        @$s{qw(from to)} = map { pack 'H*', $_ } split / /, $value;

    } elsif ($order eq 'has_changed') {
        return defined $s->{from} ? 0 : 1;

    } elsif ($order eq 'hold') {
        $s->{hold} = 1;

    } elsif ($order eq 'drop') {
        $drop->($_) for values %$links;
        delete $s->{hold};

    } elsif ($order eq 'heal') {
        %$s = (delay => 0, delay_new => 0, cuts => 0);
        delete $_->{left} for values %$links;

    } else {
        $s->{$order} = $value;
    }

    return 0;
}

1;
