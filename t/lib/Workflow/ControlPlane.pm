package Workflow::ControlPlane;

# A control plane of llama_deploy 0.4.4, as far as its services ask it, in a
# process of its own: it keeps what it was asked, and answers as it is told;
# ended when the object goes away.

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Storable ();
use Workflow ();

# namespace: what it says to those who register; queue_config: JSON text;
# watch: called in that process with each request, before it is answered; what
# it returns is kept with the request.

sub new {
    my ($class, %options) = @_;
    my $port = $options{port} // Workflow::free_port();

    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC
        or die "socketpair: $!";

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        close $ours;
        $SIG{PIPE} = 'IGNORE';
        $SIG{$_} = 'DEFAULT' for qw(INT TERM);
        eval {
            Workflow::ControlPlane::Server->new($port, $theirs, %options)
                ->serve;
            1;
        } or print STDERR "control plane: $@";
        POSIX::_exit(0);
    }

    my $self = bless { pid => $pid, port => $port, control => $ours,
        owner => $$ }, $class;
    $self->up if $options{up} // 1;
    return $self;
}

sub port { return $_[0]{port} }
sub url { return "http://127.0.0.1:$_[0]{port}" }

# Each returns when it is in force.

# Listen, without memory of who has registered; stop, and close connections.

sub up { $_[0]->tell('up') }
sub down { $_[0]->tell('down') }

# Close connections on which nothing is asked just now.

sub close_idle { $_[0]->tell('close_idle') }

# namespace, queue_config: as in new().

sub set { my ($self, %values) = @_; $self->tell('set', \%values) }

# The requests so far whose "METHOD target" is like this: number, time,
# connection, peer (a port), method, target, headers, body, watched.

sub requests {
    my ($self, $like) = @_;
    return @{ $self->tell('requests', defined $like ? "$like" : '') };
}

# Forget them.

sub forget { $_[0]->tell('forget') }

# The same, once there are so many.

sub asked {
    my ($self, $like, $count, $seconds) = @_;
    my @requests;

    Workflow::wait_for(sub {
        @requests = $self->requests($like);
        @requests >= ($count // 1);
    }, $seconds // 10, 'requests ' . $like);
    return @requests;
}

# Who has registered: name => body.

sub services { return $_[0]->tell('services') }

# The state of a session, key => JSON text; undef: there is none.  With a value
# it is set before.

sub session { my ($self, $id, @state) = @_;
    return $self->tell('session', $id, @state) }

# Answer such requests in another way, the first `times` of them or all of them:
# status, body, headers => {}, delay: seconds, hold: not before release(),
# close: without an answer, cut: the connection after so many bytes of it, huge:
# valid JSON of so many bytes.  What was said last counts.

sub answer {
    my ($self, $like, %how) = @_;
    $self->tell('answer', "$like", \%how);
}

# Answer as usual again; what is held stays held.

sub heal { $_[0]->tell('heal') }

# Answer what is held, as usual; close: close its connections instead.

sub release { my ($self, %how) = @_; $self->tell('release', \%how) }

# An nginx in front of it that speaks TLS, with directives for its server{}; url
# is it->{tls_url}.

sub secure {
    my ($self, $ssl) = @_;
    my $port = Workflow::free_port();
    my $front = Workflow::Nginx->new(module => 0, workers => 1,
        locations => <<"LOCATIONS");
listen 127.0.0.1:$port ssl;
$ssl
location / {
    proxy_pass http://127.0.0.1:$self->{port};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
}
LOCATIONS
    $front->{tls_url} = "https://127.0.0.1:$port";
    return $front;
}

sub tell {
    my ($self, @order) = @_;
    Workflow::ControlPlane::put($self->{control}, \@order);
    my ($answer) = @{ Workflow::ControlPlane::take($self->{control})
        // die "the control plane has gone\n" };
    return $answer;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $@, $!);
    return if $self->{owner} != $$;
    kill 'KILL', $self->{pid};
    waitpid $self->{pid}, 0;
}

# A list, through a socket.

sub put {
    my ($socket, $list) = @_;
    my $bytes = Storable::freeze($list);
    $bytes = pack('N', length $bytes) . $bytes;

    while (length $bytes) {
        my $n = syswrite $socket, $bytes;
        die "control plane: $!" if !defined $n;
        substr $bytes, 0, $n, '';
    }
}

sub take {
    my ($socket) = @_;
    my $bytes = '';
    my $length = 4;

    while (length $bytes < $length) {
        sysread $socket, $bytes, $length - length $bytes, length $bytes
            or return undef;
        $length = 4 + unpack 'N', $bytes if length $bytes == 4;
    }

    return Storable::thaw(substr $bytes, 4);
}

# The members of a JSON object, keys in UTF-8, each value as the text that it
# has; undef: it is none.

sub members {
    my ($text) = @_;
    my %members;

    $text =~ /\G\s*\{\s*/gc or return undef;
    return {} if $text =~ /\G\}\s*\z/gc;

    while (1) {
        my ($key) = $text =~ /\G("(?:[^"\\]|\\.)*")\s*:\s*/gc ? $1 : return;
        my ($from, $depth) = (pos $text, 0);

        while (1) {
            if ($text =~ /\G"/gc) {
                1 while $text =~ /\G[^"\\]+/gc || $text =~ /\G\\./gcs;
                $text =~ /\G"/gc or return undef;

            } elsif ($text =~ /\G[\[{]/gc) {
                $depth++;

            } elsif ($depth && $text =~ /\G[\]}]/gc) {
                $depth--;

            } elsif (!$depth && $text =~ /\G(?=[,}])/gc) {
                last;

            } else {
                $text =~ /\G[^"\[\]{}]/gc or return undef;
            }
        }

        utf8::decode($key);
        $key = Workflow::from_json($key);
        utf8::encode($key);
        $members{$key} = substr $text, $from, pos($text) - $from;
        next if $text =~ /\G,\s*/gc;
        return $text =~ /\G\}\s*\z/gc ? \%members : undef;
    }
}


package Workflow::ControlPlane::Server;

use IO::Select ();
use Time::HiRes qw(time);

sub new {
    my ($class, $port, $control, %options) = @_;
    return bless { port => $port, control => $control,
        namespace => 'llama_deploy', connections => {}, count => 0,
        requests => [], answers => [], services => {}, sessions => {},
        queue_config => '{"SimpleMessageQueueConfig":{"host":"127.0.0.1",'
            . '"port":8001,"client_kwargs":{},"raise_exceptions":false,'
            . '"use_ssl":false}}', %options }, $class;
}

sub serve {
    my ($self) = @_;

    while (1) {
        my $now = time;
        my $next = 3600;

        for my $c (grep { $_->{due} } values %{ $self->{connections} }) {
            my $left = $c->{due} - $now;

            if ($left <= 0) {
                delete $c->{due};
                $self->reply($c);

            } elsif ($left < $next) {
                $next = $left;
            }
        }

        my @connections = values %{ $self->{connections} };
        my %of = map { fileno $_->{socket} => $_ } @connections;

        my ($r, $w) = IO::Select->select(
            IO::Select->new($self->{control}, $self->{listen} // (),
                map { $_->{socket} } @connections),
            IO::Select->new(map { $_->{socket} }
                grep { $_->{out} ne '' } @connections), undef, $next);

        for my $socket (@{ $w // [] }) {
            $self->write($of{fileno $socket});
        }

        for my $socket (@{ $r // [] }) {
            if ($socket == $self->{control}) {
                my $order = Workflow::ControlPlane::take($socket) // return;
                Workflow::ControlPlane::put($socket, [$self->order(@$order)]);
                last;       # sockets may be closed
            }

            if ($self->{listen} && $socket == $self->{listen}) {
                my $client = $socket->accept or next;
                $client->blocking(0);
                my $c = { socket => $client, in => '', out => '',
                    peer => $client->peerport, number => ++$self->{count} };
                $self->{connections}{ $c->{number} } = $c;
                next;
            }

            my $c = $of{fileno $socket // -1} // next;
            $self->read($c) if $self->{connections}{ $c->{number} };
        }
    }
}

sub drop {
    my ($self, $c) = @_;
    close $c->{socket};
    delete $self->{connections}{ $c->{number} };
}

sub order {
    my ($self, $order, @values) = @_;

    if ($order eq 'up') {
        $self->{services} = {};
        $self->{listen} //= IO::Socket::INET->new(Listen => 128,
            ReuseAddr => 1, LocalAddr => "127.0.0.1:$self->{port}")
            or die "listen on $self->{port}: $!";

    } elsif ($order eq 'down') {
        close delete $self->{listen} if $self->{listen};
        $self->drop($_) for values %{ $self->{connections} };

    } elsif ($order eq 'close_idle') {
        $self->drop($_) for grep { !$_->{request} && $_->{in} eq '' }
            values %{ $self->{connections} };

    } elsif ($order eq 'set') {
        @$self{keys %{ $values[0] }} = values %{ $values[0] };

    } elsif ($order eq 'requests') {
        my ($like) = @values;
        return [grep { $like eq '' || "$_->{method} $_->{target}" =~ $like }
            @{ $self->{requests} }];

    } elsif ($order eq 'forget') {
        $self->{requests} = [];

    } elsif ($order eq 'services') {
        return $self->{services};

    } elsif ($order eq 'session') {
        my ($id, @state) = @values;
        $self->{sessions}{$id} = $state[0] if @state;
        return $self->{sessions}{$id};

    } elsif ($order eq 'answer') {
        my ($like, $how) = @values;
        unshift @{ $self->{answers} }, { times => -1, %$how, like => $like };

    } elsif ($order eq 'heal') {
        $self->{answers} = [];

    } elsif ($order eq 'release') {
        for my $c (grep { $_->{held} } values %{ $self->{connections} }) {
            $c->{held} = 0;
            $c->{how} = $values[0];
            $self->reply($c);
        }
    }

    return undef;
}

sub read {
    my ($self, $c) = @_;
    my $n = sysread $c->{socket}, $c->{in}, 262144, length $c->{in};

    return if !defined $n && $!{EAGAIN};
    return $self->drop($c) if !$n;
    $self->parse($c);
}

# A request, once it is there as a whole; one at a time.

sub parse {
    my ($self, $c) = @_;
    return if $c->{request} || $c->{in} !~ /\r\n\r\n/;

    my $head = substr $c->{in}, 0, $-[0];
    my $begin = $+[0];
    my ($line, @lines) = split /\r\n/, $head;
    my %headers = map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } @lines;
    my $length = $headers{'content-length'} // 0;

    if (length $c->{in} < $begin + $length) {
        $c->{out} .= "HTTP/1.1 100 Continue\r\n\r\n"
            if ($headers{expect} // '') =~ /100-continue/i
                && !$c->{continued}++;
        return;
    }

    my ($method, $target) = $line =~ m{^(\S+) (\S+) HTTP/1\.1$};
    my $request = { number => scalar @{ $self->{requests} }, time => time,
        connection => $c->{number}, peer => $c->{peer},
        method => $method // '', target => $target // $line,
        headers => \%headers, body => substr($c->{in}, $begin, $length) };

    substr $c->{in}, 0, $begin + $length, '';
    $c->{continued} = 0;
    $request->{watched} = $self->{watch}->($request) if $self->{watch};
    push @{ $self->{requests} }, $request;

    my ($how) = grep {
        $_->{times} && "$request->{method} $request->{target}" =~ $_->{like}
    } @{ $self->{answers} };

    $how->{times}-- if $how;
    $c->{request} = $request;
    $c->{how} = $how // {};
    $c->{held} = $c->{how}{hold};
    return if $c->{held};

    if ($c->{how}{delay}) {
        $c->{due} = time + $c->{how}{delay};

    } else {
        $self->reply($c);
    }
}

my %reasons = (200 => 'OK', 307 => 'Temporary Redirect', 404 => 'Not Found',
    405 => 'Method Not Allowed', 422 => 'Unprocessable Entity',
    500 => 'Internal Server Error');

sub reply {
    my ($self, $c) = @_;
    my $how = $c->{how};
    my $request = delete $c->{request};

    return $self->drop($c) if $how->{close};

    my ($status, $body) = defined $how->{status} || defined $how->{body}
        ? ($how->{status} // 200, $how->{body} // 'null')
        : $self->result($request);

    if ($how->{huge}) {
        my $end = '","topic_namespace":"' . $self->{namespace} . '"}';
        $body = '{"x":"' . 'x' x ($how->{huge} - 6 - length $end) . $end;
    }

    my $answer = "HTTP/1.1 $status " . ($reasons{$status} // 'Status') . "\r\n"
        . join('', map { "$_: $how->{headers}{$_}\r\n" }
            sort keys %{ $how->{headers} // {} })
        . "content-type: application/json\r\ncontent-length: "
        . length($body) . "\r\n\r\n$body";

    if (defined $how->{cut}) {
        $answer = substr $answer, 0, $how->{cut};
        $c->{last} = 1;
    }

    $c->{out} .= $answer;
    $self->write($c);
}

sub write {
    my ($self, $c) = @_;
    return if !$self->{connections}{ $c->{number} };
    my $n = syswrite $c->{socket}, $c->{out}, 1048576;

    return if !defined $n && $!{EAGAIN};
    return $self->drop($c) if !defined $n;
    substr $c->{out}, 0, $n, '';
    return if $c->{out} ne '' || $c->{request};
    return $self->drop($c) if $c->{last};
    $self->parse($c);
}

sub unescape { return $_[0] =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ger }

# What the real one says.

sub result {
    my ($self, $request) = @_;
    my ($path, $query) = split /\?/, $request->{target}, 2;
    my $what = "$request->{method} $path";
    my $body = $request->{body};

    if ($what eq 'POST /services/register') {
        my $service = eval { Workflow::from_json($body) };

        return (422, '{"detail":[]}') if ref $service ne 'HASH'
            || grep { ref $service->{$_} || !defined $service->{$_} }
                qw(service_name description);
        $self->{services}{ $service->{service_name} } = $body;
        return (200, Workflow::to_json({ services_store_key => 'services',
            tasks_store_key => 'tasks', session_store_key => 'sessions',
            step_interval => 0.1, host => '127.0.0.1', port => $self->{port},
            internal_host => undef, internal_port => undef,
            running => JSON::PP::true(), cors_origins => undef,
            topic_namespace => $self->{namespace}, state_store_uri => undef,
            use_tls => JSON::PP::false() }));
    }

    if ($what eq 'POST /services/deregister') {
        my ($name) = ($query // '') =~ /(?:^|&)service_name=([^&]*)/;
        return (422, '{"detail":[{"type":"missing","loc":["query",'
            . '"service_name"],"msg":"Field required","input":null}]}')
            if !defined $name;
        delete $self->{services}{ unescape($name) };
        return (200, 'null');
    }

    return (200, $self->{queue_config}) if $what eq 'GET /queue_config';

    if ($what =~ m{^(GET|POST) /sessions/([^/]+)/state$}) {
        my $id = unescape($2);
        my $state = $self->{sessions}{$id};

        return (404, '{"detail":"Session not found"}') if !$state;
        return (200, '{' . join(',', map { Workflow::to_json($_)
            . ":$state->{$_}" } sort keys %$state) . '}') if $1 eq 'GET';

        my $new = Workflow::ControlPlane::members($body)
            // return (422, '{"detail":[{"type":"dict_type"}]}');
        @$state{keys %$new} = values %$new;
        return (200, 'null');
    }

    return (404, '{"detail":"Not Found"}');
}

1;
