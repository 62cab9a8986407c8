# Loaded and not configured, the module does nothing: an nginx with it has the
# same threads, descriptors and shared memory as one without it, and sleeps as
# soundly.

use strict;
use warnings;

use Cwd ();
use File::Spec ();
use Test::More;
use Time::HiRes qw(sleep);
use Workflow;

my $version = `@{[ $ENV{TEST_NGINX_BINARY} // 'nginx' ]} -V 2>&1`;
plan skip_all => 'nginx has no debug log' if $version !~ /--with-debug/;

my $module = File::Spec->rel2abs($ENV{TEST_NGINX_MODULE}
    // 'build/ngx_http_workflow_module.so');
my $redis = Workflow::Redis->new;
my $queue = "workflow_queue tasks { url @{[ $redis->url ]}; }";
my $load = 'workflow_load @PLUGINS@/echo.so;';

my @plain = (workers => 1, pool => '', log_level => 'debug',
    locations => 'location / { return 204; }');

my %nginx = (
    without => Workflow::Nginx->new(@plain, module => 0),
    loaded => Workflow::Nginx->new(@plain),
    unused => Workflow::Nginx->new(@plain, http => "$load $queue"),
    configured => Workflow::Nginx->new(@plain,
        pool => "thread_pool workflow threads=8;\n",
        http => "$load $queue workflow_service echo { workflow echo;"
            . ' queue tasks; }'),
);

sub lines {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!";
    return <$file>;
}

sub switches {
    my ($pid) = @_;
    my ($line) = grep { /^voluntary_ctxt_switches/ } lines("/proc/$pid/status");
    return $line =~ /(\d+)/ ? $1 : die $line;
}

# What a process has; names of its own directory and numbers left out.

sub threads { my @tasks = glob "/proc/$_[1]/task/*"; return [scalar @tasks] }

sub descriptors {
    my ($nginx, $pid) = @_;
    my $dir = $nginx->dir;
    return [sort map { (readlink // '') =~ s/^\Q$dir\E//r =~ s/:\[\d+\]$//r }
        glob "/proc/$pid/fd/*"];
}

sub shared_memory {
    my ($nginx, $pid) = @_;
    no warnings 'portable';
    return [sort map { m{^(\w+)-(\w+) ...s \S+ \S+ \S+ +(\S.*)$}
        ? "$3 " . (hex($2) - hex($1)) : () } lines("/proc/$pid/maps")];
}

sub files {
    my ($nginx, $pid) = @_;
    my %files = map { m{ (/\S+)$} && $1 !~ m{^/dev/zero} ? ($1 => 1) : () }
        lines("/proc/$pid/maps");
    return [sort keys %files];
}

# The module and the libraries that it needs.

my %ours = map { $_ => 1 } $module,
    map { m{(/\S+) \(} ? Cwd::realpath($1) : () } `ldd $module`;

my %pids;

for my $name (keys %nginx) {
    my $nginx = $nginx{$name};
    my ($worker) = $nginx->workers;
    $pids{$name} = { master => $nginx->pid, worker => $worker };

    # the connection that start() has made is over

    wait_for { $nginx->log =~ /close http connection.*epoll timer: /s } 10,
        'the worker to wait';
}

for my $name (qw(loaded unused)) {
    for my $process (qw(master worker)) {
        my ($pid, $other) = ($pids{$name}{$process}, $pids{without}{$process});

        for (['threads', \&threads], ['descriptors', \&descriptors],
            ['shared memory', \&shared_memory])
        {
            my ($what, $get) = @$_;
            is_deeply($get->($nginx{$name}, $pid),
                $get->($nginx{without}, $other), "$name, $process: $what");
        }

        my %before = map { $_ => 1 } @{ files($nginx{without}, $other) };
        is_deeply([grep { !$before{$_} && !$ours{$_} }
            @{ files($nginx{$name}, $pid) }], [],
            "$name, $process: no other files are mapped");
    }
}

# that it would show

my $worker = $pids{configured}{worker};
isnt(threads(undef, $worker)->[0], 1, 'configured: threads');
isnt(scalar @{ descriptors($nginx{configured}, $worker) },
    scalar @{ descriptors($nginx{without}, $pids{without}{worker}) },
    'configured: descriptors');
isnt(scalar @{ shared_memory($nginx{configured}, $worker) },
    scalar @{ shared_memory($nginx{without}, $pids{without}{worker}) },
    'configured: shared memory');


# A second of sleep: what wakes a worker shows in the debug log.

my %before = map { $_ => [switches($pids{$_}{worker}), $nginx{$_}->log] }
    keys %nginx;
sleep 1;

for my $name (qw(without loaded unused configured)) {
    my ($switches, $log) = @{ $before{$name} };
    my $woken = switches($pids{$name}{worker}) - $switches;
    my $said = $nginx{$name}->log =~ s/^\Q$log\E//r;

    if ($name eq 'configured') {
        cmp_ok($woken, '>', 5, "$name: it polls");
        like($said, qr/event timer add/, "$name: by a timer");
        next;
    }

    is($woken, 0, "$name: the worker is not woken");
    is($said, '', "$name: no timer, no event");

    my ($timer) = $log =~ /.*\b$pids{$name}{worker}#.* epoll timer: (\S+)$/ms;
    is($timer, -1, "$name: it waits for ever");
}


# It passes its life in silence, and requests pass it by.

for my $name (qw(loaded unused)) {
    my $nginx = $nginx{$name};
    is(http_get($nginx->url('/'))->{status}, 204, "$name: a request");
    $nginx->reload;
    is($nginx->stop, 0, "$name: nginx ends");
    my $dir = $nginx->dir;
    unlike($nginx->log =~ s/\Q$dir\E//gr, qr/redis|workflow_(?!module|load)/i,
        "$name: nothing in the log");
    $nginx->log_ok;
}

done_testing;
