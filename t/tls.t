# TLS to Redis, where hiredis has it.

use strict;
use warnings;

use File::Temp;
use Test::More;
use Workflow;

my $dir = File::Temp->newdir('workflow-tls-XXXXXX', TMPDIR => 1);
chmod 0755, $dir;

my %queue = (url => 'rediss://127.0.0.1:1');

sub nginx {
    my (%options) = @_;
    my $queue = join ' ', map { "$_ $queue{$_};" } sort keys %queue;
    return Workflow::Nginx->new(locations =>
        'location / { workflow_pass echo; }', http => <<"HTTP", %options);
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { $queue }
workflow_service echo { workflow echo; queue tasks; }
HTTP
}

my (undef, $text) = nginx(start => 0)->test;

if ($text =~ /hiredis that has none/) {
    like($text, qr/hiredis 1\.0 .*write "url redis:.*nginx\.conf:\d+/s,
        'a clear text without TLS');
    diag('hiredis has no TLS here');
    done_testing;
    exit;
}

sub openssl {
    my (@arguments) = @_;
    my $pid = fork // die;
    if (!$pid) {
        chdir $dir;
        open STDOUT, '>', "$dir/openssl.log";
        open STDERR, '>&', \*STDOUT;
        exec 'openssl', @arguments;
    }
    waitpid $pid, 0;
    die "openssl @arguments" if $?;
}

sub certificate {
    my ($name, $san) = @_;
    openssl(qw(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes
        -subj), "/CN=$name", '-keyout', "$name.key", '-out', "$name.csr");
    open my $ext, '>', "$dir/$name.ext" or die;
    print $ext "subjectAltName=$san\n";
    close $ext;
    openssl(qw(x509 -req -days 2 -CA ca.crt -CAkey ca.key -CAcreateserial -in),
        "$name.csr", '-out', "$name.crt", '-extfile', "$name.ext");
    chmod 0644, "$dir/$name.key";
}

for my $ca (qw(ca other)) {
    openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
        -nodes -days 2 -subj), "/CN=$ca", '-keyout', "$ca.key", '-out',
        "$ca.crt");
}

certificate('redis', 'IP:127.0.0.1,DNS:redis.test');
certificate('client', 'DNS:client');

my $port = free_port();
my $redis = Workflow::Redis->new(conf => <<"CONF");
tls-port $port
tls-cert-file $dir/redis.crt
tls-key-file $dir/redis.key
tls-ca-cert-file $dir/ca.crt
tls-auth-clients yes
CONF

sub serves {
    my ($name, %more) = @_;
    %queue = (url => "rediss://127.0.0.1:$port",
        ssl_trusted_certificate => "$dir/ca.crt",
        ssl_certificate => "$dir/client.crt",
        ssl_certificate_key => "$dir/client.key", %more);
    delete @queue{ grep { !defined $queue{$_} } keys %queue };

    my $nginx = nginx();
    my $inbox = $redis->inbox('llama_deploy.control_plane');
    my $r;

    wait_for {
        $r = http_post($nginx->url('/process_message'),
            new_task($name, { arg1 => 'x' x 100_000 }));
        $r->{status} == 200;
    } 10, 'Redis to be reached';

    my @messages = $inbox->task($name);
    is(length $messages[-1]{data}{result}, 100_007, "$name: a result");
    $nginx->stop;
    $nginx->log_ok;
}

sub refused {
    my ($name, $reason, %more) = @_;
    %queue = (url => "rediss://127.0.0.1:$port",
        ssl_trusted_certificate => "$dir/ca.crt",
        ssl_certificate => "$dir/client.crt",
        ssl_certificate_key => "$dir/client.key", %more);

    my $nginx = nginx();
    wait_for { () = $nginx->log =~ /connecting again/g } 10, 'a failure';
    like($nginx->log, $reason, "$name: the log says why");
    is(http_post($nginx->url('/process_message'), new_task('r', {}))->{status},
        503, "$name: refused");
    $nginx->stop;
    $nginx->log_ok;
}

serves('verified');
serves('name', ssl_name => 'redis.test');
serves('unverified', ssl_verify => 'off', ssl_trusted_certificate => undef,
    ssl_name => 'other.test');
refused('authority', qr/certificate verify failed/,
    ssl_trusted_certificate => "$dir/other.crt");
refused('host', qr/certificate verify failed/, ssl_name => 'other.test');

for my $case (['ssl_certificate_key', undef, qr/write both/],
    ['ssl_certificate', "$dir/none.crt", qr/cannot load "ssl_certificate"/],
    ['ssl_trusted_certificate', "$dir/none.crt", qr/cannot load "ssl_trusted/])
{
    my ($directive, $value, $expected) = @$case;
    %queue = (url => "rediss://127.0.0.1:$port",
        ssl_certificate => "$dir/client.crt",
        ssl_certificate_key => "$dir/client.key", $directive => $value);
    delete @queue{ grep { !defined $queue{$_} } keys %queue };
    my ($passed, $text) = nginx(start => 0)->test;
    ok(!$passed, "$directive: nginx -t fails");
    like($text, $expected, "$directive: and says why");
}

done_testing;
