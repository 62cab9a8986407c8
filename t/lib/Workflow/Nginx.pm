package Workflow::Nginx;

# An nginx of the test's own with master and two workers, in a temporary
# directory, on a free port of loopback; ended when the object goes away.  For
# what Test::Nginx does not offer: several at once, signals, reloads.

use strict;
use warnings;

use File::Temp ();
use Test::More ();
use Time::HiRes qw(time sleep);

my $binary = $ENV{TEST_NGINX_BINARY} // 'nginx';
my $module = $ENV{TEST_NGINX_MODULE} // 'build/ngx_http_workflow_module.so';
my $plugins = $ENV{TEST_NGINX_WORKFLOWS} // 'build/workflows';

# http: what stands in http{}; locations: what stands in the server{}; main:
# lines for the top level; workers; env: a hash for its environment; module 0:
# is not loaded; start 0: is not started.  @PLUGINS@, @PORT@ and @DIR@ are
# replaced.  By default there is a thread pool "workflow" of 8 threads.

sub new {
    my ($class, %options) = @_;
    my $self = bless { workers => 2, http => '', locations => '', main => '',
        pool => "thread_pool workflow threads=8 max_queue=65536;\n",
        log_level => 'info', module => 1, env => {}, %options,
        dir => File::Temp->newdir('workflow-nginx-XXXXXX', TMPDIR => 1),
        port => $options{port} // Workflow::free_port() }, $class;

    chmod 0755, $self->dir;
    mkdir $self->dir . "/$_" for qw(logs temp);
    $self->write;
    $self->start if $options{start} // 1;
    return $self;
}

sub dir { return "$_[0]{dir}" }
sub port { return $_[0]{port} }
sub url { return "http://127.0.0.1:$_[0]{port}$_[1]" }

# Write nginx.conf, with other parts if they are given.

sub write {
    my ($self, %parts) = @_;
    my $dir = $self->dir;

    $self->{$_} = $parts{$_} for keys %parts;

    my $load = $self->{module} ? "load_module $module;" : '';
    my $user = $> == 0 && $ENV{TEST_NGINX_WORKER_USER}
        ? "user $ENV{TEST_NGINX_WORKER_USER};" : '';

    my $text = <<"CONF";
$load
$user
worker_processes $self->{workers};
pid nginx.pid;
error_log logs/error.log $self->{log_level};
$self->{pool}
$self->{main}
events { worker_connections 1024; }
http {
access_log off;
client_body_temp_path temp/body;
proxy_temp_path temp/proxy;
fastcgi_temp_path temp/fastcgi;
uwsgi_temp_path temp/uwsgi;
scgi_temp_path temp/scgi;
$self->{http}
server {
listen 127.0.0.1:$self->{port};
$self->{locations}
}
}
CONF

    my $abs = $plugins =~ m{^/} ? $plugins : `pwd` =~ s/\n//r . "/$plugins";
    $text =~ s/\@PLUGINS\@/$abs/g;
    $text =~ s/\@PORT\@/$self->{port}/g;
    $text =~ s/\@DIR\@/$dir/g;

    open my $file, '>', "$dir/nginx.conf" or die "$dir/nginx.conf: $!";
    print $file $text;
    close $file or die "$dir/nginx.conf: $!";
}

sub command {
    my ($self, @arguments) = @_;
    my $dir = $self->dir;
    my $abs = $module =~ m{^/} ? '' : `pwd` =~ s/\n//r;

    # load_module is relative to the prefix

    symlink "$abs/$module", "$dir/module.so" if $abs && !-e "$dir/module.so";
    return ($binary, '-p', $dir, '-c', "$dir/nginx.conf", @arguments);
}

# nginx -t: whether it passed, and what it printed.

sub test {
    my ($self) = @_;
    my ($pid, $out) = $self->spawn('-t', '-e', 'stderr');
    local $/;
    my $text = <$out> // '';
    waitpid $pid, 0;
    return ($? == 0, $text);
}

sub spawn {
    my ($self, @arguments) = @_;
    my @command = $self->command(@arguments);

    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        %ENV = (%ENV, %{ $self->{env} });
        close $read;
        open STDERR, '>&', $write or die;
        open STDOUT, '>&', $write or die;
        exec @command or die "$command[0]: $!";
    }

    close $write;
    return ($pid, $read);
}

sub start {
    my ($self) = @_;
    my ($pid, $out) = $self->spawn('-g', 'daemon off;');

    $self->{pid} = $pid;
    $self->{out} = $out;

    Workflow::wait_for(sub {
        if (waitpid($pid, 1) == $pid) {
            local $/;
            $self->{pid} = 0;
            die 'nginx has not started: ' . (<$out> // '') . $self->log;
        }
        IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}");
    }, 20, 'nginx to listen');

    return $self;
}

sub pid { return $_[0]{pid} }

# Process ids of the workers of the running master.

sub workers {
    my ($self) = @_;
    my @pids;

    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $file, '<', $stat or next;
        my $line = <$file> // next;
        my ($pid, $state, $parent) = $line =~ /^(\d+) \(.*\) (\S) (\d+)/
            or next;
        push @pids, $pid if $parent == $self->{pid} && $state ne 'Z';
    }

    return sort { $a <=> $b } @pids;
}

sub signal {
    my ($self, $signal) = @_;
    kill $signal, $self->{pid} or die "kill $self->{pid}: $!";
}

# HUP; returns when no worker of before is left.

sub reload {
    my ($self, $seconds) = @_;
    my %old = map { $_ => 1 } $self->workers;

    $self->signal('HUP');
    Workflow::wait_for(sub {
        my @pids = $self->workers;
        @pids >= $self->{workers} && !grep { $old{$_} } @pids;
    }, $seconds // 20, 'new workers');
}

# QUIT, or another signal; returns the master's exit status.

sub stop {
    my ($self, $signal, $seconds) = @_;
    return if !$self->{pid};
    my $pid = $self->{pid};
    my $end = time + ($seconds // 30);
    local $!;

    kill $signal // 'QUIT', $pid;

    while (waitpid($pid, 1) != $pid) {
        if (time > $end) {
            kill 'KILL', $self->workers, $pid;
            waitpid $pid, 0;
            $self->{pid} = 0;
            die "nginx has not ended in time\n";
        }
        sleep 0.005;
    }

    $self->{pid} = 0;
    return $?;
}

sub log {
    my ($self) = @_;
    open my $file, '<', $self->dir . '/logs/error.log' or return '';
    local $/;
    return <$file> // '';
}

# Lines of the log that should not be there, but for those that match.

sub alarms {
    my ($self, @expected) = @_;
    return grep {
        my $line = $_;
        $line =~ /\[(?:alert|emerg|crit)\]|Sanitizer/
            && !grep { $line =~ $_ } @expected;
    } split /^/, $self->log;
}

# A test of its own: the log has none of those lines.

sub log_ok {
    my ($self, @expected) = @_;
    my @lines = $self->alarms(@expected);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return Test::More::ok(!@lines, 'no alert, emerg or crit in the error log')
        || Test::More::diag(@lines);
}

sub DESTROY {
    my ($self) = @_;
    return if !$self->{pid};
    local ($?, $@, $!);
    my @pids = ($self->{pid}, $self->workers);
    kill 'KILL', @pids;
    waitpid $self->{pid}, 0;
    $self->{pid} = 0;
}

1;
