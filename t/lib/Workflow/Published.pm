package Workflow::Published;

# What is published of tasks, by task, and on which channel.  What the test
# itself publishes, as another publisher, is left out.

use strict;
use warnings;

use Time::HiRes qw(time);
use Workflow ();

sub new {
    my ($class, $redis, @channels) = @_;
    return bless { inbox => $redis->inbox(@channels), seen => {} }, $class;
}

sub note {
    my ($self, $channel, $payload) = @_;
    my $m = eval { Workflow::from_json($payload) };
    return if ref $m ne 'HASH' || ($m->{publisher_id} // '') ne 'default';
    my $seen = $self->of($m->{data}{task_id});

    $seen->{channels}{$channel} = 1;
    push @{ $seen->{ $m->{action} } }, $m->{data};
}

sub of {
    my ($self, $id) = @_;
    return $self->{seen}{$id} //= { channels => {}, completed_task => [],
        task_stream => [] };
}

# Until something can be said of it; returns what that is.

sub until {
    my ($self, $ask, $seconds) = @_;
    my $end = time + ($seconds // 15);
    my $answer;

    $self->note(@{ $self->{inbox}->next($end - time) })
        until $answer = $ask->();
    return $answer;
}

# The data of a task's completed_task, which is waited for.

sub outcome {
    my ($self, $id) = @_;
    return $self->until(sub { $self->of($id)->{completed_task}[0] })->{data};
}

# The events that a task has streamed until now.

sub streamed {
    my ($self, $id) = @_;
    return [map { $_->{data} } @{ $self->of($id)->{task_stream} }];
}

# What is wrong with all that was seen, but for tasks that are named, and forget
# it: tasks that have not ended once, indexes that do not follow each other,
# other channels than that which $channel says of an id.

sub faults {
    my ($self, $channel, @but) = @_;
    my @bad;

    $self->note(@$_) for $self->{inbox}->drain(0.1);
    my %seen = %{ $self->{seen} };
    delete @seen{@but};
    $self->{seen} = {};

    for my $id (sort keys %seen) {
        my $seen = $seen{$id};
        my @streamed = map { $_->{index} } @{ $seen->{task_stream} };
        my $ended = @{ $seen->{completed_task} };
        my @others = grep { $_ ne $channel->($id) }
            keys %{ $seen->{channels} };

        push @bad, "$id on @others" if @others;
        push @bad, "$id has ended $ended times" if $ended != 1;
        push @bad, "$id has streamed @streamed"
            if "@streamed" ne "@{[ 0 .. $#streamed ]}";
    }

    return @bad;
}

1;
