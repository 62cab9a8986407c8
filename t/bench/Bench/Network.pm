package Bench::Network;

# What a password, a distance and TLS cost.

use strict;
use warnings;

use File::Temp ();

use Workflow;
use Bench::Stand;
use Bench::Tool;

sub measure {
    my ($report, undef, %size) = @_;
    my $n = $size{network};
    my $tls = tls();
    my $redis = Workflow::Redis->new(conf => $tls ? $tls->{conf} : '');
    my $port = $redis->port;
    my $proxy = Bench::Tool->start($Bench::Tool::program, 'proxy', "to=$port",
        'delay=1000');
    my $distant = Workflow::from_json($proxy->{line})->{port};

    $redis->redis->acl('SETUSER', 'bench', 'on', '>secret', '~*', '&*',
        '+@all');

    my @names = ('plain', 'password', 'distant', $tls ? 'tls' : ());
    my $stand = Bench::Stand->new(redis => $redis,
        services => { map { $_ => 'max_concurrent_tasks 64; queue '
            . ($_ eq 'plain' ? 'tasks;' : "$_;") } @names },
        queues => "workflow_queue password {"
            . " url redis://bench:secret\@127.0.0.1:$port/0; }\n"
            . "workflow_queue distant {"
            . " url redis://127.0.0.1:$distant/0; }\n"
            . ($tls ? "workflow_queue tls { $tls->{queue} }\n" : ''));

    my $samples = $report->rounds('network', map {
        my $name = $_;
        ($_ => sub { $stand->drain($name, $n) });
    } @names);

    my %what = (password => 'user and password',
        distant => '1 ms to Redis, and 1 ms back', tls => 'TLS');

    $report->group("$n tasks queued, 64 at a time, one worker",
        'the same Redis without');
    $report->row($what{$_}, unit => '1/s', floor => $samples->{plain}{rate},
        ours => $samples->{$_}{rate}) for @names[1 .. $#names];
    $report->note('TLS to Redis is left out: the module was built with a'
        . ' hiredis that has none') if !$tls;
}

# Lines for redis.conf and for a workflow_queue, unless the module has no TLS.

sub tls {
    my (undef, $text) = Workflow::Nginx->new(start => 0, http =>
        "workflow_queue tasks { url rediss://127.0.0.1:1; }\n")->test;
    return undef if $text =~ /hiredis that has none/;

    my $dir = File::Temp->newdir('workflow-bench-XXXXXX', TMPDIR => 1);
    my $port = free_port();
    chmod 0755, $dir;

    system("cd $dir && openssl req -x509 -newkey ec -pkeyopt"
        . ' ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=redis'
        . ' -addext subjectAltName=IP:127.0.0.1 -keyout redis.key'
        . ' -out redis.crt >/dev/null 2>&1') == 0 or die "openssl\n";

    return { dir => $dir, conf => <<"CONF",
tls-port $port
tls-cert-file $dir/redis.crt
tls-key-file $dir/redis.key
tls-ca-cert-file $dir/redis.crt
tls-auth-clients no
CONF
        queue => "url rediss://127.0.0.1:$port;"
            . " ssl_trusted_certificate $dir/redis.crt;" };
}

1;
