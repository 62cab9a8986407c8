package Bench::Stand;

# What is measured: a Redis and an NGINX, and services on them.

use strict;
use warnings;

use Workflow;
use Bench::Machine;
use Bench::Tool;

use constant SIZE => 400;             # bytes of a message

# Options: services: name => directives, of the workflow echo and the queue
# tasks if they name none; workers: 1; redis: a Workflow::Redis; queues: blocks
# beside "tasks"; plugins: paths; floors 1: locations to compare with.

sub new {
    my ($class, %options) = @_;
    my $self = bless { workers => 1, queues => '', plugins => [], %options },
        $class;

    $self->{redis} //= Workflow::Redis->new;
    $self->{nginx} = $self->new_nginx;
    $self->floors if $options{floors};
    return $self;
}

sub redis { return $_[0]{redis} }
sub nginx { return $_[0]{nginx} }
sub command { return $_[0]{redis}->redis }

# One or two threads run steps of microseconds best, see README.md, Operation.

sub new_nginx {
    my ($self) = @_;
    my @names = sort keys %{ $self->{services} };
    my @plugins = map { "workflow_load $_;\n" } '@PLUGINS@/echo.so',
        '@PLUGINS@/ask.so', @{ $self->{plugins} };
    my $url = $self->redis->url;

    my $nginx = Workflow::Nginx->new(
        workers => $self->{workers}, log_level => 'warn',
        pool => "thread_pool workflow threads=2 max_queue=65536;\n",
        http => <<"HTTP", locations => $self->locations);
keepalive_requests 1000000000;
@plugins
workflow_queue tasks { url $url; }
$self->{queues}
@{[ map { service($_, $self->{services}{$_}) } @names ]}
HTTP

    $self->ready($nginx);
    return $nginx;
}

# All of its workers listen.

sub ready {
    my ($self) = @_;
    $self->redis->subscribed($self->{workers}, map { "llama_deploy.$_" }
        keys %{ $self->{services} });
}

sub service {
    my ($name, $directives) = @_;
    $directives .= ' workflow echo;' if $directives !~ /\bworkflow\b/;
    $directives .= ' queue tasks;' if $directives !~ /\bqueue\b/;
    return "workflow_service $name { $directives }\n";
}

sub locations {
    my ($self) = @_;
    return join '', map { "location /$_/ { workflow_pass $_; }\n" }
        sort keys %{ $self->{services} };
}

# Locations that answer as much as the service does, by "return".  It reads a
# body in order to drop it; there is nothing in nginx that does less with one.

sub floors {
    my ($self) = @_;
    my $body = http_get($self->nginx->url('/intake/'))->{content};

    $self->nginx->write(locations => $self->locations . <<"LOCATIONS");
location = /floor/get { default_type application/json; return 200 '$body'; }
location = /floor/post { default_type application/json; return 200 null; }
LOCATIONS
    $self->nginx->reload;
    $self->ready;
}

# bench for this Redis.

sub bench {
    my ($self, $command, %options) = @_;
    return Bench::Tool::bench($command, redis => $self->redis->port,
        size => SIZE, %options);
}

# A message of that size for wrk: what stands before and behind 12 digits.

sub message_parts {
    my $id = Bench::Tool::new_id() . '-0000-4000-8000-';
    my $message = '{"action": "new_task", "data": {"task_id": "' . $id
        . 'DIGITS", "session_id": null, "input": "{\\"arg1\\": \\"XXX\\"}"}}';
    my $pad = 'x' x (SIZE - length($message) + length('DIGITSXXX') - 12);
    $message =~ s/XXX/$pad/;
    return split /DIGITS/, $message;
}

# As it was before the first task.

sub flush { $_[0]->command->flushall }

sub key { my ($self, $service, $name) = @_;
    return "{llama_deploy.$service}:$name" }

sub length_of {
    my ($self, $service) = @_;
    return $self->command->xlen($self->key($service, 'queue'));
}

# Run the code while Redis has the first processor for itself.  Linux, left alone,
# may keep who sends, or a worker, on that of Redis for tens of milliseconds while
# another one is idle.

sub apart {
    my ($self, $code) = @_;
    my $all = Bench::Machine::processors($$);
    my ($first, $others) = split /,/, $all, 2;
    return $code->() if !defined $others;

    my %bound = ($self->redis->pid => $first,
        map { $_ => $others } $$, $self->nginx->workers);

    Bench::Machine::confine($_, $bound{$_}) for keys %bound;
    my $result = $code->();
    Bench::Machine::confine($_, $all) for keys %bound;

    return $result;
}

# Until no task of the service runs.

sub quiet {
    my ($self, $service) = @_;
    Workflow::wait_for(sub {
        !$self->command->zcard($self->key($service, 'leases'));
    }, 30, "$service to be idle");
}

# Until so many tasks are parked.

sub parked {
    my ($self, $service, $n) = @_;
    Workflow::wait_for(sub {
        $self->command->zcard($self->key($service, 'timers')) >= $n;
    }, 60, "$n tasks to be parked");
}

# Fill n tasks where no worker sees them, then hand them over; the rate at
# which the service's workers end them.

sub drain {
    my ($self, $service, $n, %more) = @_;
    $self->flush;
    $self->bench('fill', service => $service, stage => 'stage', n => $n,
        %more);
    return $self->bench('go', service => $service, stage => 'stage', n => $n);
}

# The floor of that.

sub drain_floor {
    my ($self, $n) = @_;
    $self->flush;
    $self->bench('fill', service => 'floor', stage => 'stage', n => $n);
    return $self->bench('drain', service => 'floor', stage => 'stage',
        n => $n, batch => 128);
}

1;
