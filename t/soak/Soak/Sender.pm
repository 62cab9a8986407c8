package Soak::Sender;

# Messages on their way into the services, by HTTP or by Pub/Sub, each sent
# again until it is acknowledged.  A message has an id of its own, so it may be
# sent more than once.

use strict;
use warnings;

use Time::HiRes qw(time);

use constant { CONNECTIONS => 8, TIMEOUT => 15, AGAIN => 0.1, UNSURE => 1 };

# new(loop => , redis => a Workflow::Redis, ports => [of the nginx])

sub new {
    my ($class, %options) = @_;
    return bless { queue => [], idle => [], busy => 0, sent => [],
        published => [], publishing => [], turn => 0, answers => {},
        %options }, $class;
}

sub start {
    my ($self) = @_;
    push @{ $self->{idle} }, { port => $self->{ports}[$_ % @{$self->{ports}}] }
        for 1 .. CONNECTIONS * @{ $self->{ports} };
    $self->publisher;
}

# Messages that are not acknowledged.

sub pending {
    my ($self) = @_;
    return $self->{busy} + @{ $self->{queue} } + @{ $self->{sent} }
        + @{ $self->{publishing} };
}

# By HTTP: $acknowledged->($status) comes with 200, 404 or 409.

sub post {
    my ($self, $path, $body, $acknowledged) = @_;
    push @{ $self->{queue} }, { path => $path, body => $body,
        acknowledged => $acknowledged };
    $self->post_next;
}

sub post_next {
    my ($self) = @_;

    while (@{ $self->{queue} } && @{ $self->{idle} }) {
        my $c = shift @{ $self->{idle} };
        $self->{busy}++;
        $self->exchange($c, shift @{ $self->{queue} });
    }
}

sub exchange {
    my ($self, $c, $job) = @_;
    my $done = 0;

    my $end = sub {
        my ($status) = @_;
        return if $done++;
        $self->{busy}--;
        push @{ $self->{idle} }, $c;
        $self->{answers}{$status // 'none'}++;

        if ($status && $status =~ /^(?:200|404|409)$/) {
            $job->{acknowledged}->($status);

        } elsif ($status && $status != 503) {
            die "$job->{path}: answered $status to $job->{body}\n";

        } else {
            $self->{loop}->after(AGAIN, sub {
                push @{ $self->{queue} }, $job;
                $self->post_next;
            });
        }

        $self->post_next;
    };

    $c->{lost} = sub { $end->() };
    $c->{answered} = $end;

    $c->{stream} = $self->{loop}->connect($c->{port},
        sub { $self->answer($c) }, sub { $c->{lost}->() })
        if !$c->{stream} || !$c->{stream}{socket};

    return $self->{loop}->after(0, sub { $end->() }) if !$c->{stream};

    my $stream = $c->{stream};
    $self->{loop}->after(TIMEOUT, sub {
        return if $done;
        $self->{loop}->close($stream);
        $end->();
    });

    $self->{loop}->send($stream, "POST $job->{path} HTTP/1.1\r\nHost: soak\r\n"
        . "Content-Type: application/json\r\nContent-Length: "
        . length($job->{body}) . "\r\n\r\n$job->{body}");
}

sub answer {
    my ($self, $c) = @_;
    my $stream = $c->{stream};

    return if $stream->{in} !~ m{^HTTP/1\.1\ (\d+)\ .*?\r\n
        Content-Length:\ (\d+)\r\n.*?\r\n\r\n}sx
        || length $stream->{in} < $+[0] + $2;

    my ($status, $head) = ($1, substr $stream->{in}, 0, $+[0]);
    $stream->{in} = '';
    $self->{loop}->close($stream) if $head =~ /\r\nConnection: close\r\n/;
    $c->{answered}->($status);
}

# By Pub/Sub: acknowledged when two or more have received it, as one of them
# may be killed just then.

sub publish {
    my ($self, $channel, $body, $acknowledged) = @_;
    $self->publish_again({ channel => $channel, body => $body,
        acknowledged => $acknowledged });
}

sub publish_again {
    my ($self, $job) = @_;
    push @{ $self->{publishing} }, $job;
    $self->publish_next;
}

sub publish_next {
    my ($self) = @_;
    my $stream = $self->{stream};
    return if !$stream || !$stream->{socket};

    while (my $job = shift @{ $self->{publishing} }) {
        push @{ $self->{sent} }, $job;
        $self->{loop}->send($stream, join '', "*3\r\n\$7\r\nPUBLISH\r\n",
            map { '$' . length . "\r\n$_\r\n" } $job->{channel}, $job->{body});
        last if !$stream->{socket};
    }
}

sub publisher {
    my ($self) = @_;

    $self->{stream} = $self->{loop}->connect($self->{redis}->port,
        sub { $self->published(@_) }, sub {
            push @{ $self->{publishing} }, splice @{ $self->{sent} };
            $self->publisher;
        });

    return $self->{loop}->after(AGAIN, sub { $self->publisher })
        if !$self->{stream};

    $self->{loop}->send($self->{stream}, "AUTH driver any\r\n");
    $self->publish_next;
}

sub published {
    my ($self, $stream) = @_;

    while ($stream->{in} =~ s/^([+:-])(.*)\r\n//) {
        my ($type, $text) = ($1, $2);
        next if $type eq '+';

        die "PUBLISH: $text\n" if $type eq '-' && $text !~ /^LOADING/;
        my $job = shift @{ $self->{sent} };

        if ($type eq ':' && $text >= 2) {
            $job->{at} = time;
            push @{ $self->{published} }, $job;
            shift @{ $self->{published} }
                while $self->{published}[0]{at} < time - UNSURE;
            $job->{acknowledged}->(200) if !$job->{known}++;

        } else {
            $self->{loop}->after(AGAIN, sub { $self->publish_again($job) });
        }
    }
}

# All of the services' connections have just been cut: what was on its way to
# them is lost, as Pub/Sub has it, and whoever sends it has to send it again.

sub cut {
    my ($self) = @_;
    my @unsure = grep { $_->{at} > time - UNSURE }
        splice @{ $self->{published} };
    $self->publish_again($_) for @unsure;
    return scalar @unsure;
}

1;
