package Soak::Ledger;

# What was acknowledged, what was published, and what the steps wrote down; and
# whether they agree.

use strict;
use warnings;

use Time::HiRes qw(time);
use Workflow::Record;

use constant { NAMESPACE => 'llama_deploy', SLACK => 0.5 };

# new(loop => , redis => , asked => a function of (service, task id))

sub new {
    my ($class, %options) = @_;
    return bless { tasks => {}, gaps => [], completed => {}, streamed => {},
        %options }, $class;
}

# Everything that is published is read by one connection.  While there is none,
# which is when Redis is away, what is published is not seen by anybody.

sub listen {
    my ($self) = @_;

    $self->{stream} = $self->{loop}->connect($self->{redis}->port,
        sub { $self->message(@_) }, sub {
            push @{ $self->{gaps} }, [time - SLACK, 9e99];
            $self->listen;
        });

    return $self->{loop}->after(0.02, sub { $self->listen })
        if !$self->{stream};

    $self->{loop}->send($self->{stream}, "AUTH driver any\r\nSUBSCRIBE "
        . NAMESPACE . ".control_plane\r\n");
}

sub message {
    my ($self, $stream) = @_;
    my $at = 0;

    if (!$stream->{listens}) {
        return if $stream->{in} !~ /:1\r\n/;
        $at = $+[0];
        $stream->{listens} = 1;
        $self->{gaps}[-1][1] = time if @{ $self->{gaps} };
    }

    pos($stream->{in}) = $at;

    while ($stream->{in}
        =~ /\G\*3\r\n\$7\r\nmessage\r\n\$\d+\r\n[^\r]*\r\n\$(\d+)\r\n/gc)
    {
        my $start = pos $stream->{in};
        last if length($stream->{in}) < $start + $1 + 2;
        $self->count(substr $stream->{in}, $start, $1);
        $at = pos($stream->{in}) = $start + $1 + 2;
    }

    substr $stream->{in}, 0, $at, '';
}

sub count {
    my ($self, $payload) = @_;
    my ($id) = $payload =~ /"task_id": "([^"]*)"/;

    if ($payload =~ /"action": "completed_task"/) {
        $self->{completed}{$id}++;

    } elsif ($payload =~ /"index": (\d+)\}, "action": "task_stream"/) {
        push @{ $self->{streamed}{$id} }, $1;
        $self->{asked}->($id) if $payload =~ /"prefix": "\? "/;
    }
}

# A task is about to be sent; it was acknowledged.

sub sent {
    my ($self, $id, $service, %more) = @_;
    $self->{tasks}{$id} = { service => $service, sent => time, %more };
}

sub acknowledged {
    my ($self, $id) = @_;
    $self->{tasks}{$id}{acknowledged} //= time;
}

sub tasks { return $_[0]{tasks} }

sub number {
    my ($self, $field) = @_;
    return scalar grep { $_->{$field} } values %{ $self->{tasks} };
}

# Ask Redis about all tasks that have not ended; returns those that were
# acknowledged and have not.

sub look {
    my ($self) = @_;
    my $client = $self->{redis}->client;
    my @open;

    for my $id (sort keys %{ $self->{tasks} }) {
        my $task = $self->{tasks}{$id};
        next if $task->{ended};
        my $prefix = '{' . NAMESPACE . ".$task->{service}}:";

        $client->get("${prefix}task:$id", sub {
                my $known = read_record($_[0]);
                $task->{$_} = $known->{$_} for qw(state attempts streamed
                    created updated error);
                $task->{ended} = ($task->{state} // '')
                    =~ /^(?:completed|failed|dead|cancelled)$/;
                push @open, $id if $task->{acknowledged} && !$task->{ended};
            });
    }

    $client->wait_all_responses;
    return @open;
}

# The step runs that were written down: by task and step, in order of time.

sub runs {
    my ($self, $path) = @_;
    my (%runs, %open);

    open my $file, '<', $path or die "$path: $!";

    while (<$file>) {
        my ($what, $id, $step, $attempt, $pid, $ms, $end) = split;

        if ($what eq 'b') {
            my $run = { begin => $ms / 1000, attempt => $attempt, pid => $pid,
                end => '' };
            push @{ $runs{$id}{$step} }, $run;
            $open{"$id $step $attempt $pid"} = $run;

        } else {
            $open{"$id $step $attempt $pid"}{end} = $end;
        }
    }

    return \%runs;
}

# The checks; each returns the ids, or lines, of what should not be.

sub lost {
    my ($self) = @_;
    return grep { my $task = $self->{tasks}{$_};
        $task->{acknowledged} && !$task->{ended} } keys %{ $self->{tasks} };
}

sub completed_twice {
    my ($self) = @_;
    return grep { $self->{completed}{$_} > 1 } keys %{ $self->{completed} };
}

# Whether the driver has listened all the time while the task was there.

sub heard {
    my ($self, $task) = @_;
    my ($from, $to) = map { $_ / 1000 } @$task{qw(created updated)};
    return !grep { $_->[0] < $to + SLACK && $_->[1] > $from - SLACK }
        @{ $self->{gaps} };
}

sub unheard {
    my ($self) = @_;
    return grep { my $task = $self->{tasks}{$_};
        $task->{ended} && !$self->{completed}{$_} && $self->heard($task)
    } keys %{ $self->{tasks} };
}

# Streams with an index twice, or out of order, or missing.

sub broken_streams {
    my ($self) = @_;
    my @broken;

    for my $id (keys %{ $self->{tasks} }) {
        my $task = $self->{tasks}{$id};
        my @indexes = @{ $self->{streamed}{$id} // [] };
        my $rising = !grep { $indexes[$_] <= $indexes[$_ - 1] } 1 .. $#indexes;

        next if $rising && (!$task->{ended} || !$self->heard($task)
            || "@indexes" eq join ' ', 0 .. $task->{streamed} - 1);
        push @broken, "$id: @indexes, of " . ($task->{streamed} // 'none');
    }

    return @broken;
}

# Tasks that have not ended as they should: a task that fails on purpose, at
# all attempts, is dead; another one is completed, or has lost its worker at
# all attempts.

sub wrong_ends {
    my ($self) = @_;
    my @wrong;

    for my $id (keys %{ $self->{tasks} }) {
        my $task = $self->{tasks}{$id};
        next if !$task->{ended};
        my $error = $task->{error} // '';

        next if $task->{state} eq 'completed' && !$task->{doomed}
            || $task->{state} eq 'dead' && ($error =~ /has died/
                || $task->{doomed} && $error =~ /on purpose/);
        push @wrong, "$id: $task->{state} $error";
    }

    return @wrong;
}

1;
