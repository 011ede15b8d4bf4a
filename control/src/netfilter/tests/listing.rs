//! `-L` and `-S`.

use super::*;

fn call(line: &str) -> Call {
    let args = super::super::words::split(line).unwrap();
    Call { args, input: String::new(), input_name: String::new() }
}

fn iptables(ruleset: &Ruleset, line: &str) -> String {
    match run(Program::Iptables, &call(line), ruleset, 0) {
        Ok(outcome) => outcome.stdout,
        Err(errors) => panic!("{line}: {}", errors[0]),
    }
}

#[test]
fn rows_are_those_of_iptables() {
    let mut wrong = Vec::new();
    for line in include_str!("listing.txt").lines().filter(|line| !line.starts_with('#')) {
        let [rule, verbose, plain, saved] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let mut words = rule.splitn(3, ' ');
        let (table, chain) = (words.next().unwrap(), words.next().unwrap());
        let text =
            format!("*{table}\n:uc - [0:0]\n-A {chain} {}\nCOMMIT\n", words.next().unwrap_or_default());
        let ruleset = ruleset(&text, Vec::new()).unwrap_or_else(|errors| panic!("{rule}: {}", errors[0]));
        for (how, expected) in [("-L {} 1 -vn", verbose), ("-L {} 1", plain), ("-S {} 1 -v", saved)] {
            let found = iptables(&ruleset, &format!("-t {table} {}", how.replace("{}", chain)));
            if found.trim_end_matches('\n') != expected {
                wrong.push(format!("{rule}\n    {found:?}\n    {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

const TEXT: &str = "*filter
:FORWARD DROP [0:0]
:uc - [0:0]
:longer-chain-name - [0:0]
-A INPUT -s 1.2.3.4/32 -j uc
[12345:123456789] -A INPUT ! -s 10.0.0.0/8 -p tcp -f -j LOG
[100000:9999999] -A INPUT ! -i eth0 ! -p udp
[10000000000000000:1000000000000000000] -A INPUT ! -p tcp ! -f
-A FORWARD -i eth0 -g longer-chain-name
-A uc -j longer-chain-name
COMMIT
";

#[test]
fn columns_are_those_of_iptables() {
    let ruleset = ruleset(TEXT, Vec::new()).unwrap();
    let expected = "\
Chain INPUT (policy ACCEPT)
num  target     prot opt source               destination         
1    uc         0    --  1.2.3.4              0.0.0.0/0           
2    LOG        6    -f !10.0.0.0/8           0.0.0.0/0            LOG flags 0 level 4
3              !17   --  0.0.0.0/0            0.0.0.0/0           
4              !6    !f  0.0.0.0/0            0.0.0.0/0           

Chain FORWARD (policy DROP)
num  target     prot opt source               destination         
1    longer-chain-name  0    --  0.0.0.0/0            0.0.0.0/0           [goto] 

Chain OUTPUT (policy ACCEPT)
num  target     prot opt source               destination         

Chain longer-chain-name (2 references)
num  target     prot opt source               destination         

Chain uc (1 references)
num  target     prot opt source               destination         
1    longer-chain-name  0    --  0.0.0.0/0            0.0.0.0/0           
";
    assert_eq!(iptables(&ruleset, "-nL --line-numbers"), expected);
    let expected = "\
Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         
    0     0 uc         0    --  *      *       1.2.3.4              0.0.0.0/0           
12345  123M LOG        6    -f  *      *      !10.0.0.0/8           0.0.0.0/0            LOG flags 0 level 4
 100K   10M           !17   --  !eth0  *       0.0.0.0/0            0.0.0.0/0           
10000T 1000000T           !6    !f  *      *       0.0.0.0/0            0.0.0.0/0           
";
    assert_eq!(iptables(&ruleset, "-L INPUT -v -n"), expected);
    let expected = "\
Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
    pkts      bytes target     prot opt in     out     source               destination         
       0        0 uc         all  --  any    any     1.2.3.4              anywhere            
   12345 123456789 LOG        tcp  -f  any    any    !10.0.0.0/8           anywhere             LOG level warn
  100000  9999999           !udp  --  !eth0  any     anywhere             anywhere            
10000000000000000 1000000000000000000           !tcp  !f  any    any     anywhere             anywhere            
";
    assert_eq!(iptables(&ruleset, "-L INPUT -v -x"), expected);
}

#[test]
fn commands_are_listed() {
    let ruleset = ruleset(TEXT, Vec::new()).unwrap();
    let expected = "\
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N longer-chain-name
-N uc
-A INPUT -s 1.2.3.4/32 -j uc
-A INPUT ! -s 10.0.0.0/8 -p tcp -f -j LOG
-A INPUT ! -i eth0 ! -p udp
-A INPUT ! -p tcp ! -f
-A FORWARD -i eth0 -g longer-chain-name
-A uc -j longer-chain-name
";
    assert_eq!(iptables(&ruleset, "-S"), expected);
    assert_eq!(
        iptables(&ruleset, "-S INPUT 2 -v"),
        "-A INPUT ! -s 10.0.0.0/8 -p tcp -f -c 12345 123456789 -j LOG\n"
    );
}
