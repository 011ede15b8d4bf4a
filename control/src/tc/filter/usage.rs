//! Usage texts of the longer kinds: what is understood here.

/// flower.
pub const FLOWER: &str = "Usage: ... flower\t[ MATCH-LIST ] [ verbose ]
\t\t\t[ skip_sw | skip_hw ]
\t\t\t[ action ACTION-SPEC ] [ classid CLASSID ]

Where: MATCH-LIST := [ MATCH-LIST ] MATCH
       MATCH      := {\tindev DEV-NAME |
\t\t\tnum_of_vlans VLANS_COUNT |
\t\t\tvlan_id VID |
\t\t\tvlan_prio PRIORITY |
\t\t\tvlan_ethtype [ ipv4 | ipv6 | ETH-TYPE ] |
\t\t\tcvlan_id VID |
\t\t\tcvlan_prio PRIORITY |
\t\t\tcvlan_ethtype [ ipv4 | ipv6 | ETH-TYPE ] |
\t\t\tdst_mac MASKED-LLADDR |
\t\t\tsrc_mac MASKED-LLADDR |
\t\t\tip_proto [tcp | udp | sctp | icmp | icmpv6 | IP-PROTO ] |
\t\t\tip_tos MASKED-IP_TOS |
\t\t\tip_ttl MASKED-IP_TTL |
\t\t\tdst_ip PREFIX |
\t\t\tsrc_ip PREFIX |
\t\t\tdst_port PORT-NUMBER |
\t\t\tsrc_port PORT-NUMBER |
\t\t\ttcp_flags MASKED-TCP_FLAGS |
\t\t\ttype MASKED-ICMP-TYPE |
\t\t\tcode MASKED-ICMP-CODE |
\t\t\tarp_tip IPV4-PREFIX |
\t\t\tarp_sip IPV4-PREFIX |
\t\t\tarp_op [ request | reply | OP ] |
\t\t\tarp_tha MASKED-LLADDR |
\t\t\tarp_sha MASKED-LLADDR |
\t\t\tip_flags IP-FLAGS }
";

/// basic.
pub const BASIC: &str = "Usage: ... basic [ match EMATCH_TREE ]
                 [ action ACTION_SPEC ] [ classid CLASSID ]

Where:\tSELECTOR := SAMPLE SAMPLE ...
\tFILTERID := X:Y:Z
\tACTION_SPEC := ... look at individual actions

NOTE: CLASSID is parsed as hexadecimal input.
";

/// Expressions.
pub const EMATCH: &str = "Usage: EXPR
where: EXPR  := TERM [ { and | or } EXPR ]
       TERM  := [ not ] { MATCH | '(' EXPR ')' }
       MATCH := module '(' ARGS ')'
       ARGS := ARG1 ARG2 ...

Example: a(x y) and not (b(x) or c(x y z))
";
