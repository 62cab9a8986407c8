package Bench::Stand;

# What is measured: a Redis and an NGINX with one worker, and services on it.

use strict;
use warnings;

use Workflow;
use Bench::Tool;

use constant SIZE => 400;             # bytes of a message

# Service => its directives.  Those that do not name a workflow have "echo".

my %services = (
    echo => '',
    echo64 => 'max_concurrent_tasks 64;',
    echo1024 => 'max_concurrent_tasks 1024;',
    intake => 'running off;',
);

# services: more of them; plugins: paths; nginx: options of Workflow::Nginx

sub new {
    my ($class, %options) = @_;
    my $self = bless { redis => Workflow::Redis->new(conf =>
        $options{redis_conf} // ''), options => \%options,
        services => { %services, %{ $options{services} // {} } } }, $class;

    $self->{nginx} = $self->new_nginx;
    $self->floors;
    return $self;
}

sub redis { return $_[0]{redis} }
sub nginx { return $_[0]{nginx} }

# One or two threads run steps of microseconds best, see README.md, Operation.

sub new_nginx {
    my ($self, %options) = @_;
    my $services = $options{services} // $self->{services};
    my @plugins = map { "workflow_load $_;\n" } '@PLUGINS@/echo.so',
        '@PLUGINS@/ask.so', @{ $self->{options}{plugins} // [] };
    my $url = $self->redis->url;

    my $nginx = Workflow::Nginx->new(
        workers => $options{workers} // 1, log_level => 'warn',
        pool => "thread_pool workflow threads=2 max_queue=65536;\n",
        http => <<"HTTP", locations => locations($services));
keepalive_requests 1000000000;
@plugins
workflow_queue tasks { url $url; }
@{ $options{queues} // [] }
@{[ map { service($_, $services->{$_}) } sort keys %$services ]}
HTTP

    $self->redis->subscribed(1, map { "llama_deploy.$_" } keys %$services);
    return $nginx;
}

sub service {
    my ($name, $directives) = @_;
    $directives .= ' workflow echo;' if $directives !~ /\bworkflow\b/;
    $directives .= ' queue tasks;' if $directives !~ /\bqueue\b/;
    return "workflow_service $name { $directives }\n";
}

sub locations {
    my ($services) = @_;
    return join '', map { "location /$_/ { workflow_pass $_; }\n" }
        sort keys %$services;
}

# Locations that answer as much as the service does, by "return".  It reads a
# body in order to drop it; there is nothing in nginx that does less with one.

sub floors {
    my ($self) = @_;
    my $nginx = $self->nginx;
    my $body = http_get($nginx->url('/intake/'))->{content};

    $nginx->write(locations => locations($self->{services}) . <<"LOCATIONS");
location = /floor/get { default_type application/json; return 200 '$body'; }
location = /floor/post { default_type application/json; return 200 null; }
LOCATIONS
    $nginx->reload;
    $self->redis->subscribed(1, map { "llama_deploy.$_" }
        keys %{ $self->{services} });
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

sub flush {
    my ($self) = @_;
    $self->redis->redis->flushall;
}

sub length_of {
    my ($self, $service) = @_;
    return $self->redis->redis->xlen("{llama_deploy.$service}:queue");
}

# Fill n tasks where no worker sees them, then hand them over; the rate at
# which the service's workers end them.

sub drain {
    my ($self, $service, $n) = @_;
    $self->flush;
    $self->bench('fill', service => $service, stage => 'stage', n => $n);
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
