package Workflow::Nginx;

# An nginx of the test's own with master and two workers, in a temporary
# directory, on a free port of loopback; ended when the object goes away.  For
# what Test::Nginx does not offer: several at once, signals, reloads.

use strict;
use warnings;

use File::Spec ();
use File::Temp ();
use POSIX ();
use Test::More ();
use Time::HiRes qw(time sleep);

# executed again in a binary upgrade: a whole path

my ($binary) = grep { m{/} && -x } $ENV{TEST_NGINX_BINARY} // (),
    map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin';
die "there is no nginx\n" if !$binary;
my $module = File::Spec->rel2abs($ENV{TEST_NGINX_MODULE}
    // 'build/ngx_http_workflow_module.so');
my $plugins = File::Spec->rel2abs($ENV{TEST_NGINX_WORKFLOWS}
    // 'build/workflows');

# http: what stands in http{}; locations: what stands in the server{}; main:
# lines for the top level; workers; env: a hash for its environment; module 0:
# is not loaded; start 0: is not started; daemon 1: as a daemon; under: a
# command that runs it.  @PLUGINS@, @PORT@ and @DIR@ are replaced.  By default
# there is a thread pool "workflow" of 8 threads.

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

    $text =~ s/\@PLUGINS\@/$plugins/g;
    $text =~ s/\@PORT\@/$self->{port}/g;
    $text =~ s/\@DIR\@/$dir/g;

    open my $file, '>', "$dir/nginx.conf" or die "$dir/nginx.conf: $!";
    print $file $text;
    close $file or die "$dir/nginx.conf: $!";
}

sub command {
    my ($self, @arguments) = @_;
    my $dir = $self->dir;
    return (@{ $self->{under} // [] }, $binary, '-p', $dir, '-c',
        "$dir/nginx.conf", @arguments);
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

# Tests of their own: nginx -t passes; it refuses with a text like this that
# names the file and the line on which "# here" stands.

sub passes_ok {
    my ($self, $name) = @_;
    my ($passed, $text) = $self->test;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @bad = grep { !/ syntax is ok$| test is successful$/ } split /^/, $text;
    return Test::More::ok($passed && !@bad, $name) || Test::More::diag($text);
}

sub refuses_ok {
    my ($self, $like, $name) = @_;
    my ($passed, $text) = $self->test;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    open my $file, '<', $self->dir . '/nginx.conf' or die "nginx.conf: $!";
    my @lines = <$file>;
    my ($line) = grep { $lines[$_ - 1] =~ /# here/ } 1 .. @lines;
    die "$name: no line is marked\n" if !$line;

    my ($found) = grep { /\[emerg\]/ && $_ =~ $like } split /\n/, $text;
    return Test::More::ok(!$passed && $found
        && $found =~ m{ in \S+/nginx\.conf:$line$}, $name)
        || Test::More::diag("expected: $like at line $line\n$text");
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
    return $self->start_daemon if $self->{daemon};
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

    @pids = sort { $a <=> $b } @pids;
    return @pids;
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

# USR2, and QUIT for the old master; returns when the old one has ended.  nginx
# must have been started with daemon 1.

sub upgrade {
    my ($self, $seconds) = @_;
    my $old = $self->{pid};

    $self->signal('USR2');

    $self->{pid} = Workflow::wait_for(sub {
        my $pid = $self->pid_file;
        $pid && $pid != $old && -e $self->dir . '/nginx.pid.oldbin' && $pid;
    }, $seconds // 20, 'a new master');

    Workflow::wait_for(sub { $self->workers >= $self->{workers} },
        $seconds // 20, 'new workers');

    kill 'QUIT', $old or die "kill $old: $!";
    Workflow::wait_for(sub { waitpid($old, 1) == $old }, $seconds // 20,
        'the old master to end');
}

sub pid_file {
    my ($self) = @_;
    open my $file, '<', $self->dir . '/nginx.pid' or return;
    my $line = <$file> // return;
    return $line + 0;
}

# A daemon's parent is init, whose place we take (PR_SET_CHILD_SUBREAPER), so
# that it can be waited for.  An nginx that is none ignores USR2.

sub start_daemon {
    my ($self) = @_;
    my %prctl = (x86_64 => 157, aarch64 => 167);

    syscall($prctl{(POSIX::uname())[4]}, 36, 1, 0, 0, 0) == 0
        or die "prctl: $!";

    my ($pid, $out) = $self->spawn;
    waitpid $pid, 0;
    die 'nginx has not started: ' . $self->log if $?;

    $self->{pid} = Workflow::wait_for(sub { $self->pid_file }, 20, 'its pid');
    return $self;
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
        $line =~ /^(?:\S+ \S+|nginx:)\ \[(?:alert|emerg|crit)\]
            |Sanitizer|runtime\ error:/x && !grep { $line =~ $_ } @expected;
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
